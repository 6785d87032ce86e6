/** Pure: no clock, no I/O, no randomness. */
import type { NetworkKey, NetworkStateNode } from "@starling/api";
import type { NetworkView } from "../state.ts";
import { endpointText, tunnelAddress } from "./addresses.ts";
import { keepaliveSeconds } from "./plan-tunnel.ts";

/** A peer as a WireGuard device of this host should have it. */
export interface TunnelPeer {
  readonly nodeId: string;
  /** `10.0.0.2:51840`; undefined: it has to call first. */
  readonly endpoint: string | undefined;
  /** What it may send from and be sent to; none: it is only asked whether it answers. */
  readonly addresses: readonly string[];
  /** So often it is sent something at least, in seconds; 0: never. */
  readonly keepalive: number;
}

/** Nodes that this host exchanges encrypted packets with; undefined: it takes part in nothing encrypted. Pure. */
export function encryptedWith(
  view: NetworkView,
  nodeId: string,
  localNetworks: Iterable<string>,
): ReadonlySet<string> | undefined {
  const { ingress } = view;
  const shared = new Set(localNetworks);
  for (const { networkId } of view.endpointsAt(nodeId)) shared.add(networkId);
  for (const id of shared) {
    const network = view.networks.get(id);
    if (network === undefined || !network.encrypted || network.ingress) shared.delete(id);
  }
  const isSecret = ingress !== undefined && view.hasEncrypted(ingress.id);
  const published = isSecret ? [...view.endpointsOn(ingress.id)].filter(({ encrypted }) => encrypted) : [];
  if (shared.size === 0 && published.length === 0) return undefined;
  const sharing = [...shared].flatMap((id) => [...view.endpointsOn(id)]);
  const nodes = new Set([...sharing, ...published].map((endpoint) => endpoint.nodeId));
  // Whoever has a published task is called by every node of the mesh.
  if (published.some((endpoint) => endpoint.nodeId === nodeId)) for (const id of view.nodes.keys()) nodes.add(id);
  nodes.delete(nodeId);
  return nodes;
}

/** The peers that each of this host's devices should have, by public key; `relayed` has the nodes' relay addresses. Pure. */
export function desiredPeers(
  view: NetworkView,
  nodes: Iterable<string>,
  relayed: ReadonlyMap<string, string> = new Map(),
): ReadonlyMap<string, TunnelPeer> {
  const peers = new Map<string, TunnelPeer>();
  for (const nodeId of nodes) {
    const node = view.nodes.get(nodeId);
    for (const key of node?.keys ?? []) {
      const relay = relayed.get(nodeId);
      const endpoint = relay === undefined ? endpointOf(node!, key) : endpointText(relay, key.port);
      const addresses = [tunnelAddress(key.publicKey)];
      peers.set(key.publicKey, { nodeId, endpoint, addresses, keepalive: keepaliveSeconds });
    }
  }
  return peers;
}

/** Where the node takes packets for the key, as far as managers know. */
export const endpointOf = ({ underlayAddress }: NetworkStateNode, { port }: NetworkKey): string | undefined =>
  underlayAddress === "" ? undefined : endpointText(underlayAddress, port);

/** How this host's packets reach other nodes encrypted. What is not in it must not be sent at all. */
export interface TunnelPaths {
  /** This host's devices with their addresses; packets leave by the first. */
  readonly devices: readonly { readonly device: string; readonly address: string }[];
  /** Where to send packets for a node, by node id. */
  readonly nodes: ReadonlyMap<string, string>;
  /** Addresses of other nodes' ends, those that are only listened to included. */
  readonly addresses: readonly string[];
}

/** Paths by way of `peers`, all of which the devices have. A node's first key is the one that it wants to be sent to by. */
export function tunnelPaths(
  view: NetworkView,
  devices: TunnelPaths["devices"],
  peers: ReadonlyMap<string, TunnelPeer>,
): TunnelPaths {
  const nodes = new Map<string, string>();
  for (const { nodeId } of peers.values()) {
    const key = view.nodes.get(nodeId)?.keys.find(({ publicKey }) => peers.has(publicKey));
    if (key !== undefined) nodes.set(nodeId, tunnelAddress(key.publicKey));
  }
  return { devices, nodes, addresses: [...peers.values()].flatMap(({ addresses }) => addresses) };
}
