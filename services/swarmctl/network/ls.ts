import {
  Control,
  isIngressNetwork,
  isPredefinedNetwork,
  ListNetworksRequest,
  ListNetworksRequest_Filters,
  type Network,
} from "@starling/api";
import { type Command, type ListFlags, listFlags } from "../command.ts";
import { type FilterFlags, filterFlag, parseFilters } from "../flags/filter.ts";
import { formatList, type ListView } from "../format/list.ts";
import { shortId } from "../format/words.ts";

export const list: Command<ListFlags & FilterFlags> = {
  flags: [...listFlags, filterFlag("id, name, label")],
  async run({ client, out }, _args, flags) {
    const { ids, names, labels } = parseFilters(flags.filter);
    const filters = ListNetworksRequest_Filters.create({ idPrefixes: ids, namePrefixes: names, labels });
    const { networks } = await client.call(Control.methods.listNetworks, ListNetworksRequest.create({ filters }));
    const sorted = networks.toSorted((a, b) => a.spec.annotations.name.localeCompare(b.spec.annotations.name));
    out(formatList(sorted, networkView(flags), flags));
  },
};

export function networkView({ trunc }: { readonly trunc?: boolean }): ListView<Network> {
  return {
    heading: ["NETWORK ID", "NAME", "DRIVER", "SCOPE", "SUBNETS"],
    id: ({ id }) => id,
    row: (network) => [
      shortId(network.id, trunc === false),
      network.spec.annotations.name,
      driverOf(network),
      scopeOf(network),
      subnetsOf(network).join(", "),
    ],
    json: (network) => ({
      id: network.id,
      name: network.spec.annotations.name,
      driver: driverOf(network),
      scope: scopeOf(network),
      subnets: subnetsOf(network),
      attachable: network.spec.attachable,
      internal: network.spec.internal,
      ingress: isIngressNetwork(network),
      labels: network.spec.annotations.labels,
    }),
  };
}

/** Networks that each node has by itself are local, as Docker says. */
function scopeOf(network: Network): string {
  return isPredefinedNetwork(network) ? "local" : "swarm";
}

export function driverOf({ driverState, spec }: Network): string {
  return driverState?.name || spec.driverConfig?.name || "overlay";
}

/** The subnets that the network got, else those it asked for. */
export function subnetsOf({ ipam, spec }: Network): string[] {
  return (ipam?.configs.length ? ipam.configs : (spec.ipam?.configs ?? [])).map(({ subnet }) => subnet);
}
