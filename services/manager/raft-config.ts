import type { RaftConfig } from "@starling/api";
import { type Logger, SwarmError } from "@starling/base";
import {
  defaultTiming,
  type RaftNode,
  type RaftTicks,
  type RaftTiming,
  type SnapshotPolicy,
} from "@starling/raft-node";
import type { MemoryStore } from "@starling/store";

/** What the cluster object says about raft, for every manager. */
export interface RaftSettings {
  readonly snapshots: Partial<SnapshotPolicy>;
  readonly ticks: RaftTicks;
}

/**
 * The settings in a cluster's RaftConfig. Swarm's KeepOldSnapshots counts those besides the newest, of which one is kept here in
 * any case. Ticks of 0 are not set: `flags` hold then, as before the cluster object is known.
 */
export function raftSettings(config: RaftConfig, flags: Partial<RaftTicks> = {}): RaftSettings {
  const { snapshotInterval, keepOldSnapshots, logEntriesForSlowFollowers, electionTick, heartbeatTick } = config;
  return {
    snapshots: {
      intervalEntries: snapshotInterval,
      keepEntries: logEntriesForSlowFollowers,
      keepOldSnapshots: Math.max(0, keepOldSnapshots - 1),
    },
    ticks: {
      electionTicks: electionTick || flags.electionTicks || defaultTiming.electionTicks,
      heartbeatTicks: heartbeatTick || flags.heartbeatTicks || defaultTiming.heartbeatTicks,
    },
  };
}

/** Makes raft follow the cluster object, on every manager, until the signal aborts. What makes no sense is not taken over. */
export async function followRaftConfig(options: {
  readonly store: MemoryStore;
  readonly raft: Pick<RaftNode, "configure">;
  readonly clusterId: string;
  readonly timing: Partial<RaftTiming> | undefined;
  readonly log: Logger;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { store, raft, clusterId, timing, log, signal } = options;
  let known = "";
  const apply = () => {
    const config = store.view((tx) => tx.clusters.get(clusterId))?.spec.raft;
    if (config === undefined) return;
    const settings = raftSettings(config, timing);
    const text = JSON.stringify(settings);
    if (text === known) return;
    known = text;
    try {
      raft.configure(settings);
      log.info("raft settings taken from the cluster", { ...settings.snapshots, ...settings.ticks });
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (!signal.aborted) log.warn("raft settings of the cluster are not taken over", { error: error.message });
    }
  };
  while (!signal.aborted) {
    const events = store.watch({ kinds: ["cluster"], signal });
    apply();
    try {
      for await (const _ of events) apply();
    } catch (error) {
      // It lagged behind: the watch is opened again, and the state looked at.
      log.debug("raft settings: watch starts over", { error });
    }
  }
}
