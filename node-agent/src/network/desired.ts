/** Pure: no clock, no I/O, no randomness. */
import type { NetworkStateEndpoint, NetworkStateNetwork } from "@starling/api";
import { type HostLink, type HostNetwork, type HostRoute, pair, routeKey } from "./host-network.ts";
import {
  bridgeOf,
  macOf,
  meshDevice,
  portOf,
  returnGateway,
  returnMac,
  returnTable,
  routedOf,
  routedPrefix,
  vxlanOf,
  vxlanPort,
} from "./names.ts";
import type { HostRules, PeerNode, PublishedPort, RoutedTask } from "./nft-host.ts";
import type { Reachable, VirtualService } from "./nft-task.ts";
import { backendsByService, ingressOf, type NetworkView } from "./state.ts";

/** A task attached here. */
export interface LocalTask {
  readonly taskId: string;
  readonly serviceId: string;
  /** Its overlay networks, in the order of its interfaces. */
  readonly overlays: readonly { readonly networkId: string; readonly address: string }[];
  /** Address of its default-route interface; undefined: it has none. */
  readonly routed: string | undefined;
  /** Whether `routed` is on the ingress network. */
  readonly inMesh: boolean;
  /** Ports published on this host alone. */
  readonly hostPorts: readonly {
    readonly protocol: "tcp" | "udp";
    readonly published: number;
    readonly target: number;
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
}

/** Bytes that VXLAN over IPv4 adds: IP 20, UDP 8, VXLAN 8, inner Ethernet 14. */
export const vxlanOverhead = 50;

export const overlayMtu = (network: NetworkStateNetwork, underlayMtu: number): number =>
  network.mtu > 0 ? network.mtu : underlayMtu - vxlanOverhead;

/** Devices, routes, neighbours and forwarding entries that this host needs. Pure. */
export function desiredHostNetwork(inputs: NodeInputs): HostNetwork {
  const links = new Map<string, HostLink>();
  const addresses = new Set<string>();
  const routes = new Map<string, HostRoute>();
  const neighbours = new Map<string, string>();
  const forwarding = new Map<string, string>();
  const { view, nodeId } = inputs;
  const self = view.nodes.get(nodeId);
  const addRoute = (route: HostRoute) => routes.set(routeKey(route), route);

  const used = new Set(inputs.tasks.flatMap((task) => task.overlays.map((overlay) => overlay.networkId)));
  for (const endpoint of view.endpoints.values()) if (endpoint.nodeId === nodeId) used.add(endpoint.networkId);
  for (const networkId of used) {
    const network = view.networks.get(networkId);
    if (network === undefined || network.ingress || network.encrypted || self === undefined) continue;
    const mtu = overlayMtu(network, inputs.underlayMtu);
    const vxlan = { vni: network.vni, local: self.underlayAddress, port: vxlanPort, proxy: true };
    links.set(bridgeOf(networkId), { kind: "bridge", mtu });
    links.set(vxlanOf(networkId), { kind: "vxlan", mtu, master: bridgeOf(networkId), vxlan });
  }
  for (const endpoint of view.endpoints.values()) {
    const device = vxlanOf(endpoint.networkId);
    const host = view.nodes.get(endpoint.nodeId)?.underlayAddress;
    if (!links.has(device) || endpoint.nodeId === nodeId || !host) continue;
    neighbours.set(pair(device, endpoint.address), macOf(endpoint.address));
    forwarding.set(pair(device, macOf(endpoint.address)), host);
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
    }
  }

  const ingress = ingressOf(view);
  const mesh = self?.meshAddress ?? "";
  const returnRule = ingress !== undefined && mesh !== "";
  if (ingress !== undefined && self !== undefined && mesh !== "") {
    const [address = ""] = mesh.split("/");
    const vxlan = { vni: ingress.vni, local: self.underlayAddress, port: vxlanPort, proxy: false };
    links.set(meshDevice, { kind: "vxlan", mtu: overlayMtu(ingress, inputs.underlayMtu), mac: macOf(address), vxlan });
    addresses.add(pair(meshDevice, `${address}/32`));
    neighbours.set(pair(meshDevice, returnGateway), returnMac);
    addRoute({ destination: "0.0.0.0/0", table: returnTable, device: meshDevice, gateway: returnGateway });
    for (const subnet of ingress.subnets) addRoute({ destination: subnet, table: returnTable });
    for (const node of view.nodes.values()) {
      const [peer = ""] = node.meshAddress.split("/");
      if (node.id === nodeId || peer === "" || node.underlayAddress === "") continue;
      neighbours.set(pair(meshDevice, peer), macOf(peer));
      forwarding.set(pair(meshDevice, macOf(peer)), node.underlayAddress);
      addRoute({ destination: `${peer}/32`, device: meshDevice, gateway: peer });
    }
    for (const endpoint of view.endpoints.values()) {
      const [peer = ""] = view.nodes.get(endpoint.nodeId)?.meshAddress.split("/") ?? [];
      if (endpoint.networkId !== ingress.id || endpoint.nodeId === nodeId || peer === "") continue;
      addRoute({ destination: `${endpoint.address}/32`, device: meshDevice, gateway: peer });
    }
  }
  return { links, addresses, routes, neighbours, forwarding, returnRule };
}

const protocols = ["tcp", "udp"] as const;

/** The host's nftables rules. Pure. */
export function desiredHostRules(inputs: NodeInputs): HostRules {
  const { view, nodeId } = inputs;
  const ingress = ingressOf(view);
  const backends = backendsByService(view, inputs.leaving);
  const published: PublishedPort[] = [];
  for (const service of view.services.values()) {
    const serving = ingress === undefined ? [] : (backends.get(`${ingress.id}/${service.id}`) ?? []);
    for (const port of service.ports) {
      const protocol = protocols[port.protocol];
      if (protocol === undefined) continue;
      const behind = serving.map((endpoint) => ({ address: endpoint.address, port: port.targetPort }));
      published.push({ protocol, port: port.publishedPort, backends: behind });
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
      if (taken < 0) published.push({ protocol: port.protocol, port: port.published, backends: [backend] });
    }
  }
  const peers: PeerNode[] = [...view.nodes.values()]
    .filter((node) => node.id !== nodeId && node.underlayAddress !== "")
    .map((node) => ({ underlay: node.underlayAddress, mesh: node.meshAddress === "" ? undefined : node.meshAddress }));
  const inMesh = [...view.endpoints.values()].filter((e) => e.networkId === ingress?.id && e.nodeId !== nodeId);
  return {
    mesh: view.nodes.get(nodeId)?.meshAddress || undefined,
    ingressSubnets: ingress?.subnets ?? [],
    peers,
    published,
    tasks,
    taskOfNode: inMesh.flatMap((endpoint) => {
      const host = view.nodes.get(endpoint.nodeId)?.underlayAddress;
      return host ? [[host, endpoint.address] as const] : [];
    }),
    live: [...view.endpoints.values()].filter((e) => e.networkId === ingress?.id).map((e) => e.address),
  };
}

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
    if (!device?.startsWith(routedPrefix) || spokenFor.has(device)) continue;
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

/** What lies on the networks of `task`. Pure. */
export function reachable(inputs: NodeInputs, task: LocalTask): Reachable {
  const on = new Set(task.overlays.map((overlay) => overlay.networkId));
  const dead = inputs.dead.filter(({ networkId }) => on.has(networkId)).map(({ address }) => address);
  return { services: virtualServices(inputs, task), dead };
}

function virtualServices(inputs: NodeInputs, task: LocalTask): readonly VirtualService[] {
  const on = new Set(task.overlays.map((overlay) => overlay.networkId));
  const backends = backendsByService(inputs.view, inputs.leaving);
  const services: VirtualService[] = [];
  for (const service of inputs.view.services.values()) {
    for (const { networkId, virtualIp } of service.networks) {
      if (virtualIp === "" || !on.has(networkId)) continue;
      const serving: readonly NetworkStateEndpoint[] = backends.get(`${networkId}/${service.id}`) ?? [];
      services.push({ virtualIp, backends: serving.map((endpoint) => endpoint.address) });
    }
  }
  return services;
}
