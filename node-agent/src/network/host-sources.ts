/** Pure: no clock, no I/O, no randomness. */
import type { NetworkStateEndpoint, NetworkStateNode, NetworkStateService } from "@starling/api";
import {
  isV6,
  type LocalTask,
  type NodeInputs,
  overlayMtu,
  publishedPorts,
  type RecoveredTask,
  reachableAt,
  targetPorts,
  vxlanPortOf,
} from "./desired.ts";
import { safeBase, safeEndpoint, safeNode, tunnelledVxlan } from "./encryption/safe-mesh.ts";
import { type HostLink, type HostRoute, pair, routeKey } from "./host-network.ts";
import type { Put } from "./ledger.ts";
import { meshPaths } from "./mesh-paths.ts";
import {
  bridgeOf,
  clearMesh,
  loopbackRoute,
  macOf,
  markOf,
  meshAddress6,
  meshDevice,
  portOf,
  routedOf,
  vxlanOf,
} from "./names.ts";
import { type PublishedPort, spreadOf } from "./nft-host.ts";
import { meshAddressOf, type NetworkView } from "./state.ts";

/*
 * What each source has to say of the host's network and rules. Besides itself a source may look at what is the same for all of the
 * node, at its network's `Overlay`, and: an endpoint at its node; a service at its endpoints; a task at its service and
 * endpoints. Whoever changes one of these has the source say it anew (desired-state.ts).
 */

/** Devices of an overlay network here. */
export interface Overlay {
  readonly mtu: number;
  readonly vxlan: NonNullable<HostLink["vxlan"]>;
  readonly ipv6: boolean;
  readonly encrypted: boolean;
}

export interface SourceInputs extends NodeInputs {
  /** By network, of those that have devices here. */
  readonly overlays: ReadonlyMap<string, Overlay>;
}

const underlayOf = ({ view, nodeId, underlayMtu }: NodeInputs) => ({
  mtu: underlayMtu,
  address: view.nodes.get(nodeId)?.underlayAddress ?? "",
});

/** The network's devices here; undefined: it has none, as no task here is on it, or it can't be carried. */
export function overlayOf(inputs: NodeInputs, networkId: string, isUsed: boolean): Overlay | undefined {
  const network = inputs.view.networks.get(networkId);
  const self = inputs.view.nodes.get(inputs.nodeId);
  if (!isUsed || network === undefined || network.ingress || network.parents.length > 0 || self === undefined)
    return undefined;
  if (network.encrypted && inputs.tunnels === undefined) return undefined;
  const clear = { vni: network.vni, local: self.underlayAddress, port: vxlanPortOf(self), proxy: true };
  return {
    mtu: overlayMtu(network, underlayOf(inputs)),
    vxlan: network.encrypted ? tunnelledVxlan({ vni: network.vni, proxy: true }) : clear,
    ipv6: network.subnets.some(isV6),
    encrypted: network.encrypted,
  };
}

/** What no single source has to say: the meshes' devices, tunnels, the way of replies. */
export function putBase(inputs: SourceInputs, put: Put): void {
  safeBase(inputs, put);
  const { view, nodeId, ipv6 } = inputs;
  const { ingress } = view;
  const self = view.nodes.get(nodeId);
  const address = meshAddressOf(self);
  if (ingress === undefined || self === undefined || address === "") return;
  const vxlan = { vni: ingress.vni, local: self.underlayAddress, port: vxlanPortOf(self), proxy: false };
  const mtu = overlayMtu(ingress, underlayOf(inputs));
  put("links", meshDevice, { kind: "vxlan", mtu, mac: macOf(address), vxlan, ipv6 });
  put("addresses", pair(meshDevice, `${address}/32`), true);
  put("meshSelf", address, true);
  if (ipv6) put("addresses", pair(meshDevice, `${meshAddress6(address)}/128`), true);
  meshPaths(clearMesh, { ipv6, put }).replies(ingress.subnets);
}

export function putOverlay(networkId: string, { mtu, vxlan, ipv6 }: Overlay, put: Put): void {
  put("links", bridgeOf(networkId), { kind: "bridge", mtu });
  put("links", vxlanOf(networkId), { kind: "vxlan", mtu, master: bridgeOf(networkId), vxlan, ipv6 });
}

const hasMesh = ({ view, nodeId }: NodeInputs): boolean =>
  view.ingress !== undefined && meshAddressOf(view.nodes.get(nodeId)) !== "";

export function putNode(inputs: SourceInputs, node: NetworkStateNode, put: Put): void {
  if (node.id === inputs.nodeId) return;
  if (node.underlayAddress !== "") {
    put("underlays", node.underlayAddress, true);
    if (node.meshAddress !== "") {
      put("meshPeers", node.meshAddress, true);
      put("entryNodes", String(markOf(node.meshAddress, clearMesh)), meshAddressOf(node));
    }
  }
  const peer = meshAddressOf(node);
  const host = reachableAt(node, underlayOf(inputs).address);
  if (peer !== "" && host !== "" && hasMesh(inputs)) meshPaths(clearMesh, { ipv6: inputs.ipv6, put }).node(peer, host);
  safeNode(inputs, node, put);
}

export function putEndpoint(inputs: SourceInputs, endpoint: NetworkStateEndpoint, put: Put): void {
  const { view, nodeId, overlays, tunnels, ipv6 } = inputs;
  const { address, address6 } = endpoint;
  const isHere = endpoint.nodeId === nodeId;
  const node = view.nodes.get(endpoint.nodeId);
  const overlay = overlays.get(endpoint.networkId);
  if (overlay !== undefined && !isHere) {
    const inTunnel = tunnels?.nodes.get(endpoint.nodeId) ?? "";
    const host = overlay.encrypted ? inTunnel : reachableAt(node, underlayOf(inputs).address);
    const device = vxlanOf(endpoint.networkId);
    const mac = macOf(address);
    if (host !== "") {
      put("neighbours", pair(device, address), mac);
      if (address6 !== "" && overlay.ipv6) put("neighbours", pair(device, address6), mac);
      put("forwarding", pair(device, mac), host);
    }
  }
  if (endpoint.networkId !== view.ingress?.id) return;
  put("live", address, true);
  if (endpoint.encrypted) put("secret", address, true);
  if (isHere) return;
  for (const own of ownAddresses(node)) put("taskOfNode", `${own} ${address}`, [own, address]);
  const peer = meshAddressOf(node);
  if (peer !== "" && !endpoint.encrypted && hasMesh(inputs)) {
    meshPaths(clearMesh, { ipv6, put }).task(address, peer);
    put("farTasks", address, peer);
  }
  safeEndpoint(inputs, endpoint, put);
}

/** Addresses from which packets are the node's own. */
const ownAddresses = (node: NetworkStateNode | undefined): readonly string[] =>
  node === undefined ? [] : [...new Set([node.underlayAddress, ...node.hostAddresses])].filter((own) => own !== "");

export function putService(inputs: SourceInputs, service: NetworkStateService, put: Put): void {
  for (const port of publishedPorts(inputs, service)) putPort(port, put);
}

function putPort(port: PublishedPort, put: Put): void {
  put("published", `${port.protocol}/${port.port}`, port);
  const spread = spreadOf(port);
  if (port.backends.length > 0) put("spreads", spread.name, spread);
}

export function putTask(inputs: SourceInputs, task: LocalTask, put: Put): void {
  const { overlays, ipv6, underlayMtu, leaving } = inputs;
  task.overlays.forEach(({ networkId, address }, position) => {
    const overlay = overlays.get(networkId);
    if (overlay === undefined) return;
    const device = portOf(task.taskId, position);
    put("links", device, { kind: "veth", mtu: overlay.mtu, master: bridgeOf(networkId) });
    put("forwarding", pair(device, macOf(address)), "");
    put("ports", pair(vxlanOf(networkId), macOf(address)), device);
  });
  const address = task.routed;
  if (address === undefined) return;
  const device = routedOf(task.taskId);
  const addRoute = (route: HostRoute) => put("routes", routeKey(route), route);
  put("links", device, { kind: "veth", mtu: underlayMtu });
  put("neighbours", pair(device, address), macOf(address));
  addRoute({ destination: `${address}/32`, device });
  if (ipv6) {
    put("neighbours", pair(device, meshAddress6(address)), macOf(address));
    addRoute({ destination: `${meshAddress6(address)}/128`, device });
    addRoute(loopbackRoute(device));
  }
  putRouted(inputs.view, { device, address, serviceId: task.inMesh ? task.serviceId : "" }, put);
  if (leaving.has(task.taskId)) return;
  for (const { protocol, published, target, on } of task.hostPorts) {
    putPort({ protocol, port: published, backends: [{ address, port: target }], on, sticky: false, ofHost: true }, put);
  }
}

export function putRecovered({ view }: NodeInputs, { device, address }: RecoveredTask, put: Put): void {
  const endpoints = view.ingress === undefined ? [] : view.endpointsWith(view.ingress.id, address);
  // The least, should two have it.
  const [serviceId = ""] = endpoints.map((endpoint) => endpoint.serviceId).sort();
  putRouted(view, { device, address, serviceId }, put);
}

/** The rules for a task behind a routed interface here. */
function putRouted(
  view: NetworkView,
  { device, address, serviceId }: RecoveredTask & { readonly serviceId: string },
  put: Put,
): void {
  const published = view.ingress === undefined ? [] : view.endpointsWith(view.ingress.id, address);
  const secret = published.some(({ encrypted }) => encrypted);
  put("own", pair(device, address), { device, address });
  put("local", address, true);
  put("live", address, true);
  const ports = targetPorts(view, serviceId);
  for (const { protocol, port } of ports)
    put("open", `${address} ${protocol}/${port}`, { address, protocol, port, secret });
  if (!secret && ports.some(({ protocol }) => protocol === "tcp")) put("nearTasks", address, device);
}
