/** Pure: no clock, no I/O, no randomness. */
import {
  type NetworkStateEndpoint,
  type NetworkStateNetwork,
  type NetworkStateNode,
  type NetworkStateService,
  NetworkStateService_Balance,
} from "@starling/api";
import type { RelayPaths } from "./encryption/relaying.ts";
import { safeMtu, safeNetwork, secretTasks, tunnelledVxlan } from "./encryption/safe-mesh.ts";
import type { TunnelPaths } from "./encryption/tunnels.ts";
import { type HostNetwork, type HostRoute, pair, routeKey } from "./host-network.ts";
import { meshPaths, meshSubnets } from "./mesh-paths.ts";
import {
  bridgeOf,
  clearMesh,
  defaultVxlanPort,
  loopbackRoute,
  macOf,
  meshAddress6,
  meshDevice,
  portOf,
  routedOf,
  routedPrefix,
  vxlanOf,
} from "./names.ts";
import type { HostRules, PeerNode, PublishedPort, RoutedTask } from "./nft-host.ts";
import type { Reachable, VirtualService } from "./nft-task.ts";
import { backendsByService, ingressOf, type NetworkView } from "./state.ts";

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
    readonly protocol: "tcp" | "udp";
    readonly published: number;
    readonly target: number;
    /** Addresses and prefixes of this host on which it answers; none: all. */
    readonly on: readonly string[];
  }[];
}

export interface NodeInputs {
  readonly nodeId: string;
  readonly view: NetworkView;
  readonly tasks: readonly LocalTask[];
  /** Tasks of this host that are about to stop: no new connections to them. */
  readonly leaving: ReadonlySet<string>;
  /** Endpoints whose task is gone. */
  readonly dead: readonly NetworkStateEndpoint[];
  /** MTU of the underlay in bytes. */
  readonly underlayMtu: number;
  /** Tasks that run since before a restart and that nobody has attached yet. */
  readonly recovered: readonly RoutedTask[];
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
const reachableAt = (node: NetworkStateNode | undefined, own: string): string =>
  node === undefined || isV6(node.underlayAddress) !== isV6(own) ? "" : node.underlayAddress;

export const vxlanPortOf = (node: NetworkStateNode | undefined): number => node?.vxlanPort || defaultVxlanPort;

interface EndpointKeys {
  readonly mac: string;
  readonly neighbour: string;
  readonly neighbour6: string;
  readonly forwarding: string;
}

/** Made once for each endpoint: there are many, and few of them change. */
const endpointKeys = new WeakMap<NetworkStateEndpoint, EndpointKeys>();

function keysOf(endpoint: NetworkStateEndpoint, device: string): EndpointKeys {
  const known = endpointKeys.get(endpoint);
  if (known !== undefined) return known;
  const mac = macOf(endpoint.address);
  const made = {
    mac,
    neighbour: pair(device, endpoint.address),
    neighbour6: pair(device, endpoint.address6),
    forwarding: pair(device, mac),
  };
  endpointKeys.set(endpoint, made);
  return made;
}

/** Devices, routes, neighbours and forwarding entries that this host needs. Pure. */
export function desiredHostNetwork(inputs: NodeInputs): HostNetwork {
  const safe = safeNetwork(inputs);
  const links = new Map(safe.links);
  const addresses = new Set(safe.addresses);
  const routes = new Map(safe.routes);
  const neighbours = new Map(safe.neighbours);
  const forwarding = new Map(safe.forwarding);
  const returnTables = new Set(safe.returnTables);
  const { view, nodeId, tunnels } = inputs;
  const self = view.nodes.get(nodeId);
  const underlay = { mtu: inputs.underlayMtu, address: self?.underlayAddress ?? "" };
  const addRoute = (route: HostRoute) => routes.set(routeKey(route), route);

  const used = new Set(inputs.tasks.flatMap((task) => task.overlays.map((overlay) => overlay.networkId)));
  for (const endpoint of view.endpoints.values()) if (endpoint.nodeId === nodeId) used.add(endpoint.networkId);
  for (const networkId of used) {
    const network = view.networks.get(networkId);
    if (network === undefined || network.ingress || network.parents.length > 0 || self === undefined) continue;
    if (network.encrypted && tunnels === undefined) continue;
    const mtu = overlayMtu(network, underlay);
    const clear = { vni: network.vni, local: self.underlayAddress, port: vxlanPortOf(self), proxy: true };
    const vxlan = network.encrypted ? tunnelledVxlan({ vni: network.vni, proxy: true })! : clear;
    links.set(bridgeOf(networkId), { kind: "bridge", mtu });
    const ipv6 = network.subnets.some(isV6);
    links.set(vxlanOf(networkId), { kind: "vxlan", mtu, master: bridgeOf(networkId), vxlan, ipv6 });
  }
  const devices = new Map([...used].map((id) => [id, vxlanOf(id)] as const).filter(([, device]) => links.has(device)));
  for (const endpoint of view.endpoints.values()) {
    const device = devices.get(endpoint.networkId);
    const isEncrypted = view.networks.get(endpoint.networkId)?.encrypted === true;
    const node = view.nodes.get(endpoint.nodeId);
    const host = isEncrypted ? (tunnels?.nodes.get(endpoint.nodeId) ?? "") : reachableAt(node, underlay.address);
    if (device === undefined || endpoint.nodeId === nodeId || host === "") continue;
    const keys = keysOf(endpoint, device);
    neighbours.set(keys.neighbour, keys.mac);
    if (endpoint.address6 !== "" && links.get(device)?.ipv6) neighbours.set(keys.neighbour6, keys.mac);
    forwarding.set(keys.forwarding, host);
  }
  for (const task of inputs.tasks) {
    task.overlays.forEach((overlay, position) => {
      const device = portOf(task.taskId, position);
      const bridge = links.get(bridgeOf(overlay.networkId));
      if (bridge === undefined) return;
      links.set(device, { kind: "veth", mtu: bridge.mtu, master: bridgeOf(overlay.networkId) });
      forwarding.set(pair(device, macOf(overlay.address)), "");
    });
    if (task.routed !== undefined) {
      const device = routedOf(task.taskId);
      links.set(device, { kind: "veth", mtu: inputs.underlayMtu });
      neighbours.set(pair(device, task.routed), macOf(task.routed));
      addRoute({ destination: `${task.routed}/32`, device });
      if (!inputs.ipv6) continue;
      neighbours.set(pair(device, meshAddress6(task.routed)), macOf(task.routed));
      addRoute({ destination: `${meshAddress6(task.routed)}/128`, device });
      addRoute(loopbackRoute(device));
    }
  }

  const ingress = ingressOf(view);
  const mesh = self?.meshAddress ?? "";
  if (ingress !== undefined && self !== undefined && mesh !== "") {
    const [address = ""] = mesh.split("/");
    const vxlan = { vni: ingress.vni, local: self.underlayAddress, port: vxlanPortOf(self), proxy: false };
    const { ipv6 } = inputs;
    links.set(meshDevice, { kind: "vxlan", mtu: overlayMtu(ingress, underlay), mac: macOf(address), vxlan, ipv6 });
    addresses.add(pair(meshDevice, `${address}/32`));
    if (ipv6) addresses.add(pair(meshDevice, `${meshAddress6(address)}/128`));
    const paths = meshPaths(clearMesh, { ipv6, into: { routes, neighbours, forwarding, returnTables } });
    paths.replies(ingress.subnets);
    for (const node of view.nodes.values()) {
      const [peer = ""] = node.meshAddress.split("/");
      const host = reachableAt(node, underlay.address);
      if (node.id !== nodeId && peer !== "" && host !== "") paths.node(peer, host);
    }
    for (const endpoint of view.endpoints.values()) {
      const [peer = ""] = view.nodes.get(endpoint.nodeId)?.meshAddress.split("/") ?? [];
      if (endpoint.networkId !== ingress.id || endpoint.nodeId === nodeId || peer === "" || endpoint.encrypted)
        continue;
      paths.task(endpoint.address, peer);
    }
  }
  return { links, addresses, routes, neighbours, forwarding, returnTables };
}

const protocols = ["tcp", "udp"] as const;

/** The host's nftables rules. Pure. */
export function desiredHostRules(inputs: NodeInputs): HostRules {
  const { view, nodeId } = inputs;
  const ingress = ingressOf(view);
  const backends = backendsByService(view, inputs.leaving);
  const secret = secretTasks(view);
  const published: PublishedPort[] = [];
  // Tasks that this host reaches encrypted or not at all are nobody's to send to while it can't.
  const isReachable = ({ taskId, nodeId: host }: NetworkStateEndpoint) =>
    host === nodeId || !secret.has(taskId) || inputs.tunnels?.nodes.has(host) === true;
  for (const service of view.services.values()) {
    const all = ingress === undefined ? [] : (backends.get(`${ingress.id}/${service.id}`) ?? []);
    const serving = preferred(service, all.filter(isReachable), nodeId);
    for (const port of service.ports) {
      const protocol = protocols[port.protocol];
      if (protocol === undefined) continue;
      const behind = serving.map((endpoint) => ({ address: endpoint.address, port: port.targetPort }));
      const sticky = service.balance === NetworkStateService_Balance.SOURCE;
      published.push({ protocol, port: port.publishedPort, backends: behind, on: service.publishOn, sticky });
    }
  }
  const tasks: RoutedTask[] = [...inputs.recovered];
  for (const task of inputs.tasks) {
    if (task.routed === undefined) continue;
    const ports = task.inMesh ? targetPorts(view, task.serviceId) : [];
    tasks.push({ device: routedOf(task.taskId), address: task.routed, ports });
    if (inputs.leaving.has(task.taskId)) continue;
    for (const port of task.hostPorts) {
      const taken = published.findIndex((p) => p.protocol === port.protocol && p.port === port.published);
      const backend = { address: task.routed, port: port.target };
      if (taken < 0)
        published.push({ protocol: port.protocol, port: port.published, backends: [backend], on: port.on });
    }
  }
  const peers: PeerNode[] = [...view.nodes.values()]
    .filter((node) => node.id !== nodeId && node.underlayAddress !== "")
    .map((node) => ({ underlay: node.underlayAddress, mesh: node.meshAddress === "" ? undefined : node.meshAddress }));
  const inMesh = [...view.endpoints.values()].filter((e) => e.networkId === ingress?.id && e.nodeId !== nodeId);
  return {
    mesh: view.nodes.get(nodeId)?.meshAddress || undefined,
    vxlanPort: vxlanPortOf(view.nodes.get(nodeId)),
    tunnels: inputs.tunnels?.devices.map(({ device }) => device) ?? [],
    secret: [...secret.values()],
    relay: inputs.relay,
    ipv6: inputs.ipv6,
    ingressSubnets: ingress === undefined ? [] : meshSubnets(ingress.subnets),
    peers,
    published,
    tasks,
    taskOfNode: inMesh.flatMap(({ nodeId: host, address }) =>
      ownAddresses(view.nodes.get(host)).map((own) => [own, address] as const),
    ),
    live: [...view.endpoints.values()].filter((e) => e.networkId === ingress?.id).map((e) => e.address),
  };
}

/** Addresses from which packets are the node's own. */
const ownAddresses = (node: NetworkStateNode | undefined): readonly string[] =>
  node === undefined ? [] : [...new Set([node.underlayAddress, ...node.hostAddresses])].filter((own) => own !== "");

/** The tasks behind routed devices of the host that no attached task has: `routes` are those of the host. Pure. */
export function recoveredTasks(
  view: NetworkView,
  tasks: readonly LocalTask[],
  routes: Iterable<HostRoute>,
): readonly RoutedTask[] {
  const spokenFor = new Set(tasks.map((task) => routedOf(task.taskId)));
  const ingress = ingressOf(view)?.id;
  const services = new Map<string, string>();
  for (const endpoint of view.endpoints.values()) {
    if (endpoint.networkId === ingress) services.set(endpoint.address, endpoint.serviceId);
  }
  const recovered: RoutedTask[] = [];
  for (const { device, destination } of routes) {
    if (!device?.startsWith(routedPrefix) || spokenFor.has(device) || isV6(destination)) continue;
    const [address = ""] = destination.split("/");
    recovered.push({ device, address, ports: targetPorts(view, services.get(address) ?? "") });
  }
  return recovered;
}

function targetPorts(view: NetworkView, serviceId: string): RoutedTask["ports"] {
  return (view.services.get(serviceId)?.ports ?? []).flatMap((port) => {
    const protocol = protocols[port.protocol];
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

/** An endpoint's addresses of both families, as far as it has them. */
export const addressesOf = ({ address, address6 }: Pick<NetworkStateEndpoint, "address" | "address6">) =>
  address6 === "" ? [address] : [address, address6];

/** What lies on the networks of `task`. Pure. */
export function reachable(inputs: NodeInputs, task: LocalTask): Reachable {
  const on = new Set(task.overlays.map((overlay) => overlay.networkId));
  const key = [...on].sort().join();
  const known = reachables.get(inputs) ?? new Map<string, Reachable>();
  reachables.set(inputs, known);
  const found = known.get(key);
  if (found !== undefined) return found;
  const dead = inputs.dead.filter(({ networkId }) => on.has(networkId)).flatMap(addressesOf);
  const made = { services: virtualServices(inputs, on), dead };
  known.set(key, made);
  return made;
}

/** By inputs and networks: tasks on the same ones reach the same. */
const reachables = new WeakMap<NodeInputs, Map<string, Reachable>>();

/** Services on the networks, and who takes their connections. Pure. */
export function virtualServices(inputs: NodeInputs, on: ReadonlySet<string>): readonly VirtualService[] {
  const backends = backendsByService(inputs.view, inputs.leaving);
  const services: VirtualService[] = [];
  for (const service of inputs.view.services.values()) {
    for (const { networkId, virtualIp, virtualIp6 } of service.networks) {
      if (!on.has(networkId)) continue;
      const serving = preferred(service, backends.get(`${networkId}/${service.id}`) ?? [], inputs.nodeId);
      const sticky = service.balance === NetworkStateService_Balance.SOURCE;
      const one = { networkId, sticky };
      if (virtualIp !== "") services.push({ ...one, virtualIp, backends: serving.map(({ address }) => address) });
      if (virtualIp6 === "") continue;
      services.push({ ...one, virtualIp: virtualIp6, backends: serving.flatMap(({ address6 }) => address6 || []) });
    }
  }
  return services;
}
