/** Pure: no clock, no I/O, no randomness. */

import type { NetworkStateNode } from "@starling/api";
import type { Millis } from "@starling/base";
import type { NetworkView } from "../state.ts";
import { stickyTask } from "../sticky.ts";
import { relayAddress } from "./addresses.ts";
import { type Hearing, isLost, type Patience } from "./hearing.ts";
import { keepaliveSeconds } from "./plan-tunnel.ts";
import { endpointOf, type TunnelPeer } from "./tunnels.ts";

/** So often relay devices send each other something, in seconds: that a manager is gone shows within a few of these. */
export const relayKeepaliveSeconds = 2;

/** What was seen of one node with which this host exchanges encrypted packets. */
export interface NodeLook {
  /** Its host is down, as the managers say. */
  readonly down: boolean;
  /** Of each of its keys at each of this host's devices, and whether packets for it go to a relay there. */
  readonly peers: readonly { readonly hearing: Hearing; readonly relayed: boolean }[];
  /** It answers at its own address what is sent there beside. */
  readonly answersDirectly: boolean;
}

/**
 * Since when packets for a node are to be relayed; undefined: they are to go there directly. They are relayed once it answers
 * nothing directly (or sends by a relay itself), and until it is heard directly.
 */
export function nextWay(
  before: Millis | undefined,
  look: NodeLook,
  now: Millis,
  patience: Patience,
): Millis | undefined {
  const { down, peers, answersDirectly } = look;
  if (before === undefined) {
    const isSilent = peers.length > 0 && peers.every(({ hearing }) => isLost(hearing, now, patience));
    return (isSilent && !down) || peers.some(({ relayed }) => relayed) ? now : undefined;
  }
  const isHeard = peers.some(({ hearing: { heard }, relayed }) => !relayed && heard !== undefined && heard > before);
  return isHeard || answersDirectly ? undefined : before;
}

/** Ids of managers that the node says it reaches, while it wants some. */
const reachedBy = (node: NetworkStateNode | undefined): ReadonlySet<string> =>
  new Set(node?.relay?.wanted ? node.relay.reached : []);

/**
 * The manager by which packets between two nodes are relayed: one that both reach, the same in both nodes' eyes, other ones for
 * other pairs. Undefined: there is none.
 */
export function chooseRelay(view: NetworkView, a: string, b: string): string | undefined {
  const byOther = reachedBy(view.nodes.get(b));
  const both = [...reachedBy(view.nodes.get(a))].filter((id) => byOther.has(id) && id !== a && id !== b);
  const able = both.filter((id) => view.nodes.get(id)?.mayRelay && view.nodes.get(id)?.relay?.key !== undefined);
  return stickyTask([a, b].sort().join(" "), able);
}

/** Other nodes that want relays, if this one is a manager. */
export function relayedFor(view: NetworkView, nodeId: string): readonly NetworkStateNode[] {
  if (!view.nodes.get(nodeId)?.mayRelay) return [];
  return [...view.nodes.values()].filter(({ id, relay }) => id !== nodeId && relay?.wanted === true);
}

/** The peers of this host's relay device, by public key. `choices` has the manager for each node to be relayed, or undefined. */
export function relayPeers(
  view: NetworkView,
  nodeId: string,
  choices: ReadonlyMap<string, string | undefined>,
): ReadonlyMap<string, TunnelPeer> {
  const peers = new Map<string, TunnelPeer>();
  const addressOf = (id: string): readonly string[] => {
    const key = view.nodes.get(id)?.relay?.key;
    return key === undefined ? [] : [relayAddress(key.publicKey)];
  };
  const add = (node: NetworkStateNode, own: boolean) => {
    const key = node.relay?.key;
    if (key === undefined) return;
    const behind = [...choices].flatMap(([id, manager]) => (manager === node.id ? addressOf(id) : []));
    // An address is one peer's.
    const addresses = [...(choices.get(node.id) === undefined ? addressOf(node.id) : []), ...behind];
    const endpoint = own ? endpointOf(node, key) : undefined;
    peers.set(key.publicKey, { nodeId: node.id, endpoint, addresses, keepalive: relayKeepaliveSeconds });
  };
  for (const node of relayedFor(view, nodeId)) add(node, false);
  if (choices.size === 0) return peers;
  for (const node of view.nodes.values()) if (node.id !== nodeId && node.mayRelay) add(node, true);
  // Whether they answer directly is asked from here, as the devices that carry packets know them at one place only.
  for (const id of choices.keys()) {
    const node = view.nodes.get(id);
    for (const key of node?.keys ?? []) {
      const endpoint = endpointOf(node!, key);
      // Whatever keys a node tells, those of managers' relay devices stay what they are.
      if (endpoint !== undefined && !peers.has(key.publicKey))
        peers.set(key.publicKey, { nodeId: id, endpoint, addresses: [], keepalive: keepaliveSeconds });
    }
  }
  return peers;
}

/** Relay devices of other nodes that ask this host's tunnels whether they answer directly, by public key. */
export function askingPeers(view: NetworkView, nodes: Iterable<string>): ReadonlyMap<string, TunnelPeer> {
  const peers = new Map<string, TunnelPeer>();
  for (const nodeId of nodes) {
    const { relay } = view.nodes.get(nodeId) ?? {};
    if (relay?.wanted && relay.key !== undefined)
      peers.set(relay.key.publicKey, { nodeId, endpoint: undefined, addresses: [], keepalive: 0 });
  }
  return peers;
}

/** What the managers' knowledge of relays is made of: a change of it is one to act upon. */
export const relayFacts = (view: NetworkView): readonly unknown[] =>
  [...view.nodes.values()].flatMap(({ id, relay, mayRelay, underlayAddress, down }) =>
    relay !== undefined || mayRelay || down ? [[id, relay, mayRelay, underlayAddress, down]] : [],
  );

/** Whether the node is known to the managers by an address that its host doesn't have. */
export const isBehindNat = (node: NetworkStateNode | undefined): boolean =>
  node !== undefined &&
  node.underlayAddress !== "" &&
  node.hostAddresses.length > 0 &&
  !node.hostAddresses.includes(node.underlayAddress);
