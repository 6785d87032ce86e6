/** Pure: no clock, no I/O, no randomness. */
import {
  type NetworkStateEndpoint,
  type NetworkStateNetwork,
  type NetworkStateNode,
  type NetworkStateService,
  NetworkStateService_Balance,
  type PortProtocol,
  portProtocolOf,
} from "@starling/api";
import type { RelayPaths } from "./encryption/relaying.ts";
import { safeMtu } from "./encryption/safe-mesh.ts";
import type { TunnelPaths } from "./encryption/tunnels.ts";
import { defaultVxlanPort } from "./names.ts";
import type { PublishedPort } from "./nft-host.ts";
import type { OwnAddress, VirtualService } from "./nft-task.ts";
import { addressesOf, type NetworkView } from "./state.ts";

/** A task attached here. */
export interface LocalTask {
  readonly taskId: string;
  readonly serviceId: string;
  /** Its networks of the cluster, in the order of its interfaces. */
  readonly overlays: readonly {
    readonly networkId: string;
    readonly address: string;
    /** Empty on networks without IPv6. */
    readonly address6: string;
  }[];
  /** Address of its default-route interface; undefined: it has none. */
  readonly routed: string | undefined;
  /** Whether `routed` is on the ingress network. */
  readonly inMesh: boolean;
  /** Ports published on this host alone. */
  readonly hostPorts: readonly {
    readonly protocol: PortProtocol;
    readonly published: number;
    readonly target: number;
    /** Addresses and prefixes of this host on which it answers; none: all. */
    readonly on: readonly string[];
  }[];
}

/** Its addresses on networks of the cluster. */
export const ownAddresses = ({ overlays }: LocalTask): readonly OwnAddress[] =>
  overlays.flatMap((overlay) => addressesOf(overlay).map((address) => ({ networkId: overlay.networkId, address })));

/** A task that runs since before a restart and that nobody has attached yet. */
export interface RecoveredTask {
  /** Host's end of its default-route interface, and the address behind it. */
  readonly device: string;
  readonly address: string;
}

export interface NodeInputs {
  readonly nodeId: string;
  readonly view: NetworkView;
  readonly tasks: readonly LocalTask[];
  /** Tasks of this host that are about to stop: no new connections to them. */
  readonly leaving: ReadonlySet<string>;
  /** MTU of the underlay in bytes. */
  readonly underlayMtu: number;
  readonly recovered: readonly RecoveredTask[];
  /** How packets of encrypted networks travel; undefined: not at all. */
  readonly tunnels: TunnelPaths | undefined;
  /** What relayed packets need here; undefined: there are none. */
  readonly relay?: RelayPaths | undefined;
  /** Whether this host has IPv6: published ports answer over it, and tasks have a way out by it. */
  readonly ipv6: boolean;
}

/** Bytes that VXLAN adds: IPv4 20 or IPv6 40, UDP 8, VXLAN 8, inner Ethernet 14. */
export const vxlanOverhead = (underlayAddress: string): number => (isV6(underlayAddress) ? 70 : 50);

/** MTU of tasks' packets on the network in bytes, over the underlay of which this host has `underlayAddress`. */
export function overlayMtu(network: NetworkStateNetwork, underlay: { mtu: number; address: string }): number {
  if (network.mtu > 0) return network.mtu;
  if (network.encrypted && !network.ingress) return safeMtu(underlay.mtu);
  return underlay.mtu - vxlanOverhead(underlay.address);
}

export const isV6 = (address: string): boolean => address.includes(":");

/** Where a node is reached from the underlay address `own`; empty: nowhere, as it has none or one of the other family. */
export const reachableAt = (node: NetworkStateNode | undefined, own: string): string =>
  node === undefined || isV6(node.underlayAddress) !== isV6(own) ? "" : node.underlayAddress;

export const vxlanPortOf = (node: NetworkStateNode | undefined): number => node?.vxlanPort || defaultVxlanPort;

/** The ports that the service publishes in the mesh, and who is behind each. */
export function publishedPorts(inputs: NodeInputs, service: NetworkStateService): readonly PublishedPort[] {
  const { view, nodeId, leaving, tunnels } = inputs;
  const all = view.ingress === undefined ? [] : view.backends(view.ingress.id, service.id, leaving);
  // Tasks that this host reaches encrypted or not at all are nobody's to send to while it can't.
  const isReachable = ({ encrypted, nodeId: host }: NetworkStateEndpoint) =>
    host === nodeId || !encrypted || tunnels?.nodes.has(host) === true;
  const serving = preferred(service, all.filter(isReachable), nodeId);
  return service.ports.flatMap((port) => {
    const protocol = portProtocolOf(port.protocol);
    if (protocol === undefined) return [];
    const backends = serving.map(({ address }) => ({ address, port: port.targetPort }));
    return { protocol, port: port.publishedPort, backends, on: service.publishOn, sticky: isSticky(service) };
  });
}

/** Ports of the service's tasks that the mesh may reach. */
export function targetPorts(
  view: NetworkView,
  serviceId: string,
): readonly { readonly protocol: PortProtocol; readonly port: number }[] {
  return (view.services.get(serviceId)?.ports ?? []).flatMap((port) => {
    const protocol = portProtocolOf(port.protocol);
    return protocol === undefined ? [] : [{ protocol, port: port.targetPort }];
  });
}

/** Those of the serving tasks that this node sends new connections to. */
function preferred(
  { preferLocal }: NetworkStateService,
  serving: readonly NetworkStateEndpoint[],
  nodeId: string,
): readonly NetworkStateEndpoint[] {
  const local = preferLocal ? serving.filter((endpoint) => endpoint.nodeId === nodeId) : [];
  return local.length > 0 ? local : serving;
}

const isSticky = ({ balance }: NetworkStateService): boolean => balance === NetworkStateService_Balance.SOURCE;

/** The service's virtual IPs on the networks, and who takes their connections. */
export function virtualServicesOf(
  inputs: NodeInputs,
  service: NetworkStateService,
  on: Pick<ReadonlySet<string>, "has">,
): readonly VirtualService[] {
  const services: VirtualService[] = [];
  for (const { networkId, virtualIp, virtualIp6 } of service.networks) {
    if (!on.has(networkId)) continue;
    const serving = preferred(service, inputs.view.backends(networkId, service.id, inputs.leaving), inputs.nodeId);
    const one = { networkId, sticky: isSticky(service) };
    if (virtualIp !== "") services.push({ ...one, virtualIp, backends: serving.map(({ address }) => address) });
    if (virtualIp6 === "") continue;
    services.push({ ...one, virtualIp: virtualIp6, backends: serving.flatMap(({ address6 }) => address6 || []) });
  }
  return services;
}

/** Networks with a task on this host. */
export function usedNetworks({
  nodeId,
  view,
  tasks,
}: Pick<NodeInputs, "nodeId" | "view" | "tasks">): ReadonlySet<string> {
  const used = new Set(tasks.flatMap(({ overlays }) => overlays.map(({ networkId }) => networkId)));
  for (const { networkId } of view.endpointsAt(nodeId)) used.add(networkId);
  return used;
}
