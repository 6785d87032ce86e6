/** Pure: no clock, no I/O, no randomness. */
import {
  isEncryptedNetwork,
  isPredefinedNetwork,
  type Network,
  type NetworkAttachment,
  type ParentNetwork,
  type PortConfig,
  PortConfig_PublishMode,
  parentNetwork,
  portProtocolOf,
  publishOn,
  type Task,
} from "@starling/api";
import { isV6, type LocalTask } from "./desired.ts";

/** What a task asks of the network. */
export interface Attachment {
  /** Networks of the cluster, in the order of the interfaces eth1, eth2, … */
  readonly overlays: readonly {
    readonly networkId: string;
    readonly networkName: string;
    /** With prefix length. */
    readonly cidr: string;
    /** Its IPv6 address likewise; undefined on networks without IPv6. */
    readonly cidr6: string | undefined;
    readonly names: readonly string[];
    /** Of a network on the hosts' own one; undefined: an overlay. */
    readonly parent?: ParentAttachment;
  }[];
  /** The task's address on the ingress network; undefined: it publishes nothing there. */
  readonly ingressAddress: string | undefined;
  /** Whether it gets a way out (eth0): not when all its networks are internal and it publishes nothing. */
  readonly wayOut: boolean;
  readonly hostPorts: readonly HostPort[];
  /** Names of its networks that are encrypted. */
  readonly encrypted: readonly string[];
}

export type HostPort = LocalTask["hostPorts"][number];

export interface ParentAttachment extends ParentNetwork {
  /** Of the hosts' network, by which the task's packets leave it; of each family one at most. */
  readonly gateways: readonly string[];
  /** In bytes; 0: the parent's. */
  readonly mtu: number;
}

const overlayLimit = 10;

/** The interfaces that `task` needs, or why it can't have them. */
export function planAttachment(task: Task): { readonly attachment: Attachment } | { readonly refused: string } {
  const overlays: Attachment["overlays"][number][] = [];
  let ingressAddress: string | undefined;
  let internalOnly = task.networks.length > 0;
  for (const { network, addresses, aliases } of task.networks) {
    if (network === undefined) continue;
    if (isPredefinedNetwork(network)) {
      // The host's is not attached to, and every task has the bridge's way out.
      internalOnly = false;
      continue;
    }
    const name = network.spec.annotations.name;
    const cidr = addresses.find((address) => !isV6(address));
    if (cidr === undefined) return { refused: `network ${name}: the task has no address on it` };
    if (network.spec.ingress) {
      ingressAddress = cidr.split("/")[0];
      internalOnly = false;
      continue;
    }
    const refused = refusal(network);
    if (refused !== undefined) return { refused: `network ${name}: ${refused}` };
    const parent = parentOf(network);
    // A network on the hosts' own one is a way out by itself.
    if (!network.spec.internal && parent === undefined) internalOnly = false;
    overlays.push({
      networkId: network.id,
      networkName: name,
      cidr,
      cidr6: addresses.find(isV6),
      names: aliases,
      ...(parent === undefined ? {} : { parent }),
    });
  }
  if (overlays.length > overlayLimit) return { refused: `more than ${overlayLimit} networks for one task` };
  const hostPorts = hostPortsOf(task);
  const encrypted = task.networks.flatMap(({ network }) =>
    network !== undefined && isEncryptedNetwork(network) ? network.spec.annotations.name : [],
  );
  const wayOut = !internalOnly || hostPorts.length > 0;
  return { attachment: { overlays, ingressAddress, wayOut, hostPorts, encrypted } };
}

/** Why a task can't be attached where managers tell nodes nothing of networks; undefined when it needs no other node. */
export function needOfManagers({ overlays, ingressAddress }: Attachment): string | undefined {
  const why = "the managers of this swarm run no swarmd and tell this node nothing of its networks";
  const [overlay] = overlays;
  if (overlay !== undefined) {
    return `network ${overlay.networkName}: overlay networks are not available on this node, since ${why}: use --network host, or place the service on nodes of the managers' make`;
  }
  if (ingressAddress === undefined) return undefined;
  return `published ports: the routing mesh is not available on this node, since ${why}: publish with mode=host, or place the service on nodes of the managers' make`;
}

function refusal(network: NonNullable<NetworkAttachment["network"]>): string | undefined {
  const driver = network.driverState?.name || network.spec.driverConfig?.name || "overlay";
  if (driver !== "overlay" && parentNetwork(network) === undefined)
    return `driver "${driver}" is not supported; use overlay, macvlan or ipvlan`;
  return undefined;
}

function parentOf(network: Network): ParentAttachment | undefined {
  const parent = parentNetwork(network);
  if (parent === undefined) return undefined;
  const gateways = network.spec.internal ? [] : (network.ipam?.configs ?? []).map(({ gateway }) => gateway);
  const given = gateways.filter((gateway) => gateway !== "");
  const perFamily = [given.find((gateway) => !isV6(gateway)) ?? [], given.find(isV6) ?? []].flat();
  return { ...parent, gateways: perFamily, mtu: Number(network.spec.driverConfig?.options[mtuOption] ?? 0) || 0 };
}

const mtuOption = "com.docker.network.driver.mtu";

const firstDynamicPort = 49153;
const dynamicPorts = 65535 - firstDynamicPort;

function hostPortsOf(task: Task): HostPort[] {
  const ports: HostPort[] = [];
  const on = publishOn(task.serviceAnnotations.labels);
  for (const port of task.endpoint?.ports ?? []) {
    const protocol = portProtocolOf(port.protocol);
    if (port.publishMode !== PortConfig_PublishMode.HOST || protocol === undefined) continue;
    ports.push({ protocol, published: port.publishedPort || dynamicPort(task.id, port), target: port.targetPort, on });
  }
  return ports;
}

/** A port of its own for a host-mode port without a number; the same again after a restart. FNV-1a over task and port. */
function dynamicPort(taskId: string, port: PortConfig): number {
  let hash = 0x811c9dc5;
  for (const character of `${taskId}/${port.protocol}/${port.targetPort}`) {
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  }
  return firstDynamicPort + (hash % dynamicPorts);
}

/** The task's host-mode ports, with the numbers that those of `ports` have. */
export function publishedHostPorts(task: Task, ports: readonly HostPort[]): readonly PortConfig[] {
  const config = task.endpoint?.ports.filter((port) => port.publishMode === PortConfig_PublishMode.HOST) ?? [];
  return config.flatMap((port) => {
    const isThis = ({ protocol, target }: HostPort) =>
      protocol === portProtocolOf(port.protocol) && target === port.targetPort;
    const found = ports.find(isThis);
    return found === undefined ? [] : [{ ...port, publishedPort: found.published }];
  });
}
