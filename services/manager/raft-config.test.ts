import { Cluster, ClusterSpec, RaftConfig } from "@starling/api";
import { nullLogger, SwarmError } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { describe, expect, it } from "vitest";
import { followRaftConfig, type RaftSettings, raftSettings } from "./raft-config.ts";

const config = (more: Partial<RaftConfig>) => RaftConfig.create({ snapshotInterval: 10_000, ...more });

describe("raftSettings", () => {
  it.each([
    ["the flags' ticks where none are set", config({}), { electionTicks: 9, heartbeatTicks: 3 }, 0],
    [
      "the cluster's ticks",
      config({ electionTick: 20, heartbeatTick: 4 }),
      { electionTicks: 20, heartbeatTicks: 4 },
      0,
    ],
    [
      "one old snapshot, which is kept anyway",
      config({ keepOldSnapshots: 1, electionTick: 9, heartbeatTick: 3 }),
      { electionTicks: 9, heartbeatTicks: 3 },
      0,
    ],
    [
      "three of them",
      config({ keepOldSnapshots: 3, electionTick: 9, heartbeatTick: 3 }),
      { electionTicks: 9, heartbeatTicks: 3 },
      2,
    ],
  ])("takes %s", (_what, given, ticks, keepOldSnapshots) => {
    expect(raftSettings(given, { electionTicks: 9, heartbeatTicks: 3 })).toEqual({
      snapshots: { intervalEntries: 10_000, keepEntries: 0, keepOldSnapshots },
      ticks,
    });
  });
});

describe("followRaftConfig", () => {
  it("hands every change of the cluster object to raft, also after one that raft refuses", async () => {
    const store = new MemoryStore();
    const given: RaftSettings[] = [];
    let changed = Promise.withResolvers<void>();
    const raft = {
      configure(settings: Partial<RaftSettings>) {
        given.push(settings as RaftSettings);
        changed.resolve();
        if (settings.ticks!.electionTicks <= settings.ticks!.heartbeatTicks) {
          throw new SwarmError("InvalidArgument", "electionTick must be greater than heartbeatTick");
        }
      },
    };
    const stop = new AbortController();
    const options = { store, raft, clusterId: "c", timing: undefined, log: nullLogger, signal: stop.signal };
    const following = followRaftConfig(options);
    const set = async (raftConfig: RaftConfig) => {
      changed = Promise.withResolvers<void>();
      await store.update((tx) => {
        const old = tx.clusters.get("c");
        if (old) tx.clusters.update({ ...old, spec: { ...old.spec, raft: raftConfig } });
        else tx.clusters.create(Cluster.create({ id: "c", spec: ClusterSpec.create({ raft: raftConfig }) }));
      });
      await changed.promise;
    };
    await set(config({ electionTick: 10, heartbeatTick: 1 }));
    await set(config({ electionTick: 1, heartbeatTick: 5 }));
    await set(config({ electionTick: 10, heartbeatTick: 2, snapshotInterval: 50 }));
    expect(given.map(({ ticks, snapshots }) => [ticks.electionTicks, snapshots.intervalEntries])).toEqual([
      [10, 10_000],
      [1, 10_000],
      [10, 50],
    ]);
    stop.abort();
    await following;
  });
});
