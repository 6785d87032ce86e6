import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RaftMember } from "@starling/api";
import { nullLogger, systemClock, systemRandom } from "@starling/base";
import type { Entry } from "raft-ts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openLog } from "./open-log.ts";
import { SealerRing } from "./seal.ts";
import { SnapshotStore } from "./snapshot-store/snapshot-store.ts";
import { Wal } from "./wal/wal.ts";

let stateDir: string;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "starling-open-log-"));
});
afterEach(() => rm(stateDir, { recursive: true, force: true }));

const common = { sealers: new SealerRing(), clock: systemClock, log: nullLogger };
const entry = (index: number, term: number): Entry => ({ index, term, type: 0, data: Buffer.from(`${index}@${term}`) });
const confState = { voters: [7n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

/** A log of entries 1 to 6 of term 2, two of them committed, and snapshots beside it; how raft would start from them. */
async function openedWith(...snapshots: { readonly index: number; readonly term: number }[]) {
  const identity = RaftMember.create({ raftId: 7n, nodeId: "n1", addr: "10.0.0.1:4242" });
  const first = { identity, hardState: { term: 3, vote: 7n, commit: 2 } };
  const wal = await Wal.create({ ...common, dir: join(stateDir, "raft", "wal") }, first);
  await wal.append({ entries: [1, 2, 3, 4, 5, 6].map((index) => entry(index, 2)) });
  await wal.close();
  const store = await SnapshotStore.open({ ...common, dir: join(stateDir, "raft", "snapshots") });
  for (const { index, term } of snapshots) await store.save({ index, term, confState }, [Buffer.from("state")]);
  const opened = await openLog({ ...common, stateDir, random: systemRandom, nodeId: "n1", addr: identity.addr });
  await opened.wal.close();
  const { storage, snapshot, hardState } = opened;
  return { snapshot: snapshot?.metadata.index, last: storage.lastIndex(), commit: hardState?.commit };
}

describe("the state that a restart begins with (Raft §7)", () => {
  it("is the newest snapshot and the log behind it", async () => {
    expect(await openedWith({ index: 2, term: 2 }, { index: 4, term: 2 })).toEqual({ snapshot: 4, last: 6, commit: 4 });
  });

  it("is not a leader's snapshot that was saved but never took the log's place: other terms stand there", async () => {
    expect(await openedWith({ index: 2, term: 2 }, { index: 5, term: 3 })).toEqual({ snapshot: 2, last: 6, commit: 2 });
  });

  it("is not a snapshot beyond the end of the log", async () => {
    expect(await openedWith({ index: 9, term: 3 })).toEqual({ snapshot: undefined, last: 6, commit: 2 });
  });
});
