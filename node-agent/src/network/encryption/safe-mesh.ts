/** Pure: no clock, no I/O, no randomness. */
import type { NodeInputs } from "../desired.ts";
import { type HostLink, type HostNetwork, type HostRoute, pair, routeKey } from "../host-network.ts";
import { meshPaths } from "../mesh-paths.ts";
import { macOf, safeMesh } from "../names.ts";
import { ingressOf, type NetworkView } from "../state.ts";
import { tunnelMtu, tunnelVxlanPort } from "./addresses.ts";

/** Addresses in the mesh of tasks whose packets there must be encrypted, by task id. */
export function secretTasks(view: NetworkView): ReadonlyMap<string, string> {
  const ingress = ingressOf(view)?.id;
  const published = [...view.endpoints.values()].filter((e) => e.networkId === ingress && e.encrypted);
  return new Map(published.map(({ taskId, address }) => [taskId, address]));
}

/** Bytes that VXLAN over IPv6, which is what tunnels carry, adds. */
const vxlanOverhead = 70;
/** MTU of what VXLAN devices carry by way of tunnels, in bytes. */
export const safeMtu = (underlayMtu: number): number => tunnelMtu(underlayMtu) - vxlanOverhead;

/** A VXLAN device whose packets go through tunnels. WireGuard makes sure of what a checksum would. */
export const tunnelledVxlan = (options: { readonly vni: number; readonly proxy: boolean }): HostLink["vxlan"] => ({
  ...options,
  local: "::",
  port: tunnelVxlanPort,
  withoutChecksum: true,
});

/**
 * This host's tunnels, with their addresses and routes, and the mesh's second device: it leads to published tasks of encrypted
 * networks as the first one leads to all others.
 */
export function safeNetwork(inputs: NodeInputs): HostNetwork {
  const { view, nodeId, tunnels, ipv6 } = inputs;
  const links = new Map<string, HostLink>();
  const addresses = new Set<string>();
  const routes = new Map<string, HostRoute>();
  const neighbours = new Map<string, string>();
  const forwarding = new Map<string, string>();
  const returnTables = new Set<string>();
  const all = { links, addresses, routes, neighbours, forwarding, returnTables };
  const addRoute = (route: HostRoute) => routes.set(routeKey(route), route);
  if (inputs.relay !== undefined) {
    const { device, address, addresses: others } = inputs.relay;
    links.set(device, { kind: "tunnel", mtu: tunnelMtu(inputs.underlayMtu) });
    addresses.add(pair(device, `${address}/128`));
    for (const other of others) addRoute({ destination: `${other}/128`, device });
  }
  const [first] = tunnels?.devices ?? [];
  if (tunnels === undefined || first === undefined) return all;
  for (const { device, address } of tunnels.devices) {
    links.set(device, { kind: "tunnel", mtu: tunnelMtu(inputs.underlayMtu) });
    addresses.add(pair(device, `${address}/128`));
  }
  for (const address of tunnels.addresses) addRoute({ destination: `${address}/128`, device: first.device });

  const ingress = ingressOf(view);
  const [own = ""] = view.nodes.get(nodeId)?.meshAddress.split("/") ?? [];
  if (ingress === undefined || own === "" || secretTasks(view).size === 0) return all;
  const { device, table } = safeMesh;
  const vxlan = tunnelledVxlan({ vni: ingress.vni, proxy: false })!;
  links.set(device, { kind: "vxlan", mtu: safeMtu(inputs.underlayMtu), mac: macOf(own), vxlan, ipv6 });
  const paths = meshPaths(safeMesh, { ipv6, into: all });
  // What came in encrypted is marked, too: it goes to the task here, by the main table; only replies leave by this device,
  // those to other nodes and their tasks among them.
  paths.replies(ingress.subnets);
  for (const [id, address] of tunnels.nodes) {
    const [peer = ""] = view.nodes.get(id)?.meshAddress.split("/") ?? [];
    if (peer !== "") paths.node(peer, address, { table });
  }
  for (const endpoint of view.endpoints.values()) {
    const [peer = ""] = view.nodes.get(endpoint.nodeId)?.meshAddress.split("/") ?? [];
    if (endpoint.networkId !== ingress.id || endpoint.nodeId === nodeId || !neighbours.has(pair(device, peer)))
      continue;
    paths.task(endpoint.address, peer, { table });
    if (endpoint.encrypted) paths.task(endpoint.address, peer);
  }
  return all;
}
