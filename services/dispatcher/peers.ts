import { Peer, WeightedPeer } from "@starling/api";

/** Swarm's weight of a manager that nothing is known of (remotes.DefaultObservationWeight). */
const defaultWeight = 10;

/** `host:port` by node id, as a list for agents. */
export function weightedPeers(managers: Iterable<{ readonly nodeId: string; readonly addr: string }>): WeightedPeer[] {
  return [...managers].map(({ nodeId, addr }) =>
    WeightedPeer.create({ peer: Peer.create({ nodeId, addr }), weight: defaultWeight }),
  );
}
