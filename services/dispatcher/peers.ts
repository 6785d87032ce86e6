import { NodeRole, Peer, WeightedPeer } from "@starling/api";
import { byRole, type MemoryStore } from "@starling/store";
import type { PeerSource } from "./running.ts";

/** Swarm's weight of a manager that nothing is known of (remotes.DefaultObservationWeight). */
const defaultWeight = 10;

/** `host:port` by node id, as a list for agents. */
export function weightedPeers(managers: Iterable<{ readonly nodeId: string; readonly addr: string }>): WeightedPeer[] {
  return [...managers].map((peer) => WeightedPeer.create({ peer: Peer.create(peer), weight: defaultWeight }));
}

/** The managers as the store knows them: nodes of that role with a manager's address. */
export function peersOfStore(store: MemoryStore): PeerSource {
  return {
    current: () =>
      weightedPeers(
        store
          .view((tx) => tx.nodes.find(byRole(NodeRole.MANAGER)))
          .flatMap(({ id, managerStatus }) => (managerStatus?.addr ? [{ nodeId: id, addr: managerStatus.addr }] : [])),
      ),
    subscribe: (listener) => {
      const stop = new AbortController();
      const events = store.watch({ kinds: ["node"], signal: stop.signal });
      void (async () => {
        for await (const { object, action } of events) {
          if (object.role === NodeRole.MANAGER || action === "remove") listener();
        }
      })();
      return () => stop.abort();
    },
  };
}
