/** Pure: no clock, no I/O, no randomness. */
import type { NetworkStateEndpoint, NetworkStateNode } from "@starling/api";
import type { Sysctl } from "@starling/native/net";
import type { NodeInputs } from "../desired.ts";
import { type HostLink, pair, routeKey } from "../host-network.ts";
import type { Put } from "../ledger.ts";
import { meshPaths } from "../mesh-paths.ts";
import { macOf, safeMesh } from "../names.ts";
import { meshAddressOf } from "../state.ts";
import { tunnelMtu, tunnelVxlanPort } from "./addresses.ts";

/** Bytes that VXLAN over IPv6, which is what tunnels carry, adds. */
const vxlanOverhead = 70;
/** MTU of what VXLAN devices carry by way of tunnels, in bytes. */
export const safeMtu = (underlayMtu: number): number => tunnelMtu(underlayMtu) - vxlanOverhead;

/** A VXLAN device whose packets go through tunnels. WireGuard makes sure of what a checksum would. */
export const tunnelledVxlan = (options: {
  readonly vni: number;
  readonly proxy: boolean;
}): NonNullable<HostLink["vxlan"]> => ({
  ...options,
  local: "::",
  port: tunnelVxlanPort,
  withoutChecksum: true,
});

/** Full packets of a stream wait so long, in nanoseconds, for the next, with which they go on as one. */
const gatherNs = 100_000;

/**
 * wireguard-go hands the kernel one packet at a time. Without this each goes alone through bridge, task and TCP, with an
 * acknowledgement for every other: it took a quarter of the throughput. What ends a message (PSH) and what is short doesn't wait.
 */
export const gathering = (device: string): Sysctl => ({
  path: `/sys/class/net/${device}/gro_flush_timeout`,
  value: `${gatherNs}`,
  optional: true,
});

/** Whether the mesh has its second device here, for tasks of encrypted networks. */
function hasSafeMesh({ view, nodeId, tunnels }: NodeInputs): boolean {
  const hasTunnel = (tunnels?.devices.length ?? 0) > 0;
  const isIngress = view.ingress !== undefined && view.hasEncrypted(view.ingress.id);
  return hasTunnel && isIngress && meshAddressOf(view.nodes.get(nodeId)) !== "";
}

/**
 * This host's tunnels, with their addresses and routes, and the mesh's second device: it leads to published tasks of encrypted
 * networks as the first one leads to all others.
 */
export function safeBase(inputs: NodeInputs, put: Put): void {
  const { view, nodeId, tunnels, relay, ipv6 } = inputs;
  const addRoute = (destination: string, device: string) => {
    const route = { destination: `${destination}/128`, device };
    put("routes", routeKey(route), route);
  };
  if (relay !== undefined) {
    put("links", relay.device, { kind: "tunnel", mtu: tunnelMtu(inputs.underlayMtu) });
    put("addresses", pair(relay.device, `${relay.address}/128`), true);
    for (const other of relay.addresses) addRoute(other, relay.device);
  }
  const [first] = tunnels?.devices ?? [];
  if (tunnels === undefined || first === undefined) return;
  for (const { device, address } of tunnels.devices) {
    put("links", device, { kind: "tunnel", mtu: tunnelMtu(inputs.underlayMtu) });
    put("addresses", pair(device, `${address}/128`), true);
  }
  for (const address of tunnels.addresses) addRoute(address, first.device);
  if (!hasSafeMesh(inputs)) return;
  const { subnets, vni } = view.ingress!;
  const vxlan = tunnelledVxlan({ vni, proxy: false });
  const mac = macOf(meshAddressOf(view.nodes.get(nodeId)));
  put("links", safeMesh.device, { kind: "vxlan", mtu: safeMtu(inputs.underlayMtu), mac, vxlan, ipv6 });
  // What came in encrypted is marked, too: it goes to the task here, by the main table; only replies leave by this device,
  // those to other nodes and their tasks among them.
  meshPaths(safeMesh, { ipv6, put }).replies(subnets);
}

/** The way to another node by the second device. */
export function safeNode(inputs: NodeInputs, node: NetworkStateNode, put: Put): void {
  const peer = meshAddressOf(node);
  const host = inputs.tunnels?.nodes.get(node.id);
  if (peer === "" || host === undefined || !hasSafeMesh(inputs)) return;
  meshPaths(safeMesh, { ipv6: inputs.ipv6, put }).node(peer, host, { table: safeMesh.table });
}

/** The way to another node's published task by the second device. */
export function safeEndpoint(inputs: NodeInputs, endpoint: NetworkStateEndpoint, put: Put): void {
  const peer = meshAddressOf(inputs.view.nodes.get(endpoint.nodeId));
  if (peer === "" || !inputs.tunnels?.nodes.has(endpoint.nodeId) || !hasSafeMesh(inputs)) return;
  const paths = meshPaths(safeMesh, { ipv6: inputs.ipv6, put });
  paths.task(endpoint.address, peer, { table: safeMesh.table });
  if (endpoint.encrypted) paths.task(endpoint.address, peer);
}
