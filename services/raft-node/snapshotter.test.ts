import { ClusterSnapshot } from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { emptyConfState, MemoryStorage } from "raft-ts";
import { expect, it } from "vitest";
import type { SnapshotStore } from "./snapshot-store/snapshot-store.ts";
import { defaultSnapshotPolicy, Snapshotter } from "./snapshotter.ts";
import type { Wal } from "./wal/wal.ts";

it("after a full disk tries again in a while, not at once, also when nothing is applied meanwhile", async () => {
  const clock = new FakeClock();
  let attempts = 0;
  let ended = Promise.withResolvers<void>();
  const full = Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
  const snapshots: Pick<SnapshotStore, "save"> = {
    save: () => {
      attempts++;
      return Promise.reject(full);
    },
  };
  const metadata = { index: 5, term: 1, confState: emptyConfState };
  const snapshotter: Snapshotter = new Snapshotter({
    wal: {} as Wal,
    storage: new MemoryStorage(),
    snapshots: snapshots as SnapshotStore,
    nextTurn: (run) => void Promise.resolve().then(run),
    clock,
    policy: defaultSnapshotPolicy,
    log: nullLogger,
    lastIndex: 0,
    done: () => {
      attempt();
      ended.resolve();
    },
    rekeying: { dropOlderKeys: () => Promise.resolve(true), done: () => undefined },
    // What is due until it is done.
    rekeyDue: true,
  });
  const attempt = () =>
    snapshotter.maybeSnapshot(5, emptyConfState, () => ({
      metadata,
      membership: ClusterSnapshot.create(),
      store: [],
    }));
  attempt();
  await ended.promise;
  attempt();
  expect(attempts).toBe(1);

  ended = Promise.withResolvers<void>();
  await clock.advance(1_999);
  attempt();
  expect(attempts).toBe(1);
  await clock.advance(1);
  await snapshotter.settled();
  expect(attempts).toBe(2);
});
