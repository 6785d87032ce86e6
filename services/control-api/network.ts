import {
  type Control,
  CreateNetworkResponse,
  cidrOverlaps,
  GetNetworkResponse,
  isIngressNetwork,
  isPredefinedNetwork,
  ListNetworksResponse,
  Network,
  needsIngressNetwork,
  parseCidr,
  RemoveNetworkResponse,
  TaskState,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { required, validateNetworkSpec } from "@starling/api/validation";
import { newId, SwarmError } from "@starling/base";
import { all, byName, byReferencedNetwork, type ReadTx } from "@starling/store";
import { candidates } from "./candidates.ts";
import type { ControlDeps } from "./deps.ts";
import { found, nameTaken } from "./errors.ts";
import { passesEach } from "./filters.ts";

type NetworkMethods = "getNetwork" | "listNetworks" | "createNetwork" | "removeNetwork";

export function networkHandlers({ store, log }: ControlDeps): Pick<Handlers<typeof Control>, NetworkMethods> {
  return {
    async getNetwork({ networkId }) {
      required(networkId, "network id");
      const network = found(await store.read((tx) => tx.networks.get(networkId)), "network", networkId);
      return GetNetworkResponse.create({ network });
    },

    async listNetworks({ filters }) {
      const networks = await store.read((tx) => tx.networks.find(candidates(filters)));
      return ListNetworksResponse.create({
        networks: networks.filter(({ id, spec: { annotations } }) =>
          passesEach(filters, { id, name: annotations.name, labels: annotations.labels }),
        ),
      });
    },

    async createNetwork(request) {
      const spec = validateNetworkSpec(request.spec);
      const network = Network.create({ id: newId(), spec });
      const created = await store.update((tx) => {
        const { name } = spec.annotations;
        const holder = tx.networks.find(byName(name))[0];
        if (holder) throw nameTaken("network", name, holder.id);
        const ingress = spec.ingress ? tx.networks.find(all).find(isIngressNetwork) : undefined;
        if (ingress) {
          throw new SwarmError("AlreadyExists", `ingress network (${ingress.id}) is already present: remove it first`);
        }
        checkSubnets(tx, network);
        return tx.networks.create(network);
      });
      log.info("network created", { "network.id": network.id, "network.name": spec.annotations.name });
      return CreateNetworkResponse.create({ network: created });
    },

    async removeNetwork({ networkId }) {
      required(networkId, "network id");
      await store.update((tx) => {
        const network = found(tx.networks.get(networkId), "network", networkId);
        checkRemovable(tx, network);
        tx.networks.delete(networkId);
      });
      log.info("network removed", { "network.id": networkId });
      return RemoveNetworkResponse.create();
    },
  };
}

/** Throws InvalidArgument when a subnet asked for overlaps one that another network has, or asked for. */
function checkSubnets(tx: ReadTx, { spec }: Network): void {
  for (const { subnet } of spec.ipam?.configs ?? []) {
    const wanted = parseCidr(subnet);
    if (wanted === undefined) continue;
    for (const other of tx.networks.find(all)) {
      const taken = (other.ipam ?? other.spec.ipam)?.configs ?? [];
      const clash = taken.find((config) => {
        const cidr = parseCidr(config.subnet);
        return cidr !== undefined && cidrOverlaps(cidr, wanted);
      });
      if (clash) {
        const name = other.spec.annotations.name;
        const message = `subnet ${subnet} overlaps ${clash.subnet} of network ${name}: choose another subnet`;
        throw new SwarmError("InvalidArgument", message);
      }
    }
  }
}

function checkRemovable(tx: ReadTx, network: Network): void {
  const refuse = (message: string) => {
    throw new SwarmError("FailedPrecondition", message);
  };
  const { id } = network;
  const { name } = network.spec.annotations;
  if (isPredefinedNetwork(network)) {
    refuse(`network ${id} (${name}) is a swarm predefined network and cannot be removed`);
  }
  if (isIngressNetwork(network)) {
    const user = tx.services.find(all).find(({ spec }) => needsIngressNetwork(spec));
    if (user) refuse(`ingress network cannot be removed because service ${user.id} depends on it`);
    return;
  }
  const service = tx.services.find(byReferencedNetwork(id))[0];
  if (service) refuse(`network ${id} is in use by service ${service.id} (${service.spec.annotations.name})`);
  const task = tx.tasks
    .find(byReferencedNetwork(id))
    .find(({ desiredState, status }) => desiredState <= TaskState.RUNNING && status.state <= TaskState.RUNNING);
  if (task) refuse(`network ${id} is in use by task ${task.id}`);
}
