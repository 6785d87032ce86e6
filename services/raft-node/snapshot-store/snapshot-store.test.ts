import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Node, RaftMember, Snapshot, StoreSnapshot, Task } from "@starling/api";
import { type Logger, nullLogger, systemClock } from "@starling/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SealerRing } from "../seal.ts";
import { encodeSnapshot } from "./encode-snapshot.ts";
import { SnapshotStore } from "./snapshot-store.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "starling-snap-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const metadata = (index: number) => ({
  index,
  term: 4,
  confState: { voters: [1n, 2n ** 63n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
});
const openStore = (log: Logger = nullLogger, sealers = new SealerRing()) =>
  SnapshotStore.open({ dir, sealers, clock: systemClock, log });
const bytes = (text: string) => Buffer.from(text);

describe("SnapshotStore", () => {
  it("gives back the newest, keeps two, and tells from where the log is needed", async () => {
    const store = await openStore();
    expect(await store.prune()).toBe(0);
    for (const index of [10, 20, 30]) await store.save(metadata(index), [bytes(`state `), bytes(`at ${index}`)]);
    expect(await store.prune()).toBe(20);
    expect(await store.indexes()).toEqual([30, 20]);
    const loaded = await store.loadNewest(() => true);
    expect(Buffer.concat(loaded!.chunks).toString()).toBe("state at 30");
    expect(loaded!.metadata).toMatchObject(metadata(30));
  });

  it("keeps more when told to", async () => {
    const store = await openStore();
    for (const index of [10, 20, 30, 40, 50]) await store.save(metadata(index), [bytes("state")]);
    expect(await store.prune(4)).toBe(40);
    expect(await store.indexes()).toEqual([50, 40, 30, 20]);
    expect(await store.prune(0)).toBe(40);
    expect(await store.indexes()).toEqual([50, 40]);
  });

  it("passes over a damaged newest, at whatever byte", async () => {
    const store = await openStore();
    await store.save(metadata(10), [bytes("older")]);
    await store.save(metadata(20), [bytes("newer"), bytes("still")]);
    const path = join(dir, (await readdir(dir)).sort().at(-1)!);
    const whole = await readFile(path);
    for (let at = 0; at < whole.length; at++) {
      // The version's bytes and the padding behind them: a newer format is refused, not passed over.
      if (at >= 8 && at < 12) continue;
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1;
      await writeFile(path, damaged);
      const loaded = await store.loadNewest(() => true);
      expect(loaded!.metadata.index, `byte ${at} flipped`).toBe(10);
    }
    await writeFile(path, whole.subarray(0, whole.length - 3));
    expect((await store.loadNewest(() => true))!.metadata.index).toBe(10);
  });

  it("refuses a newer format", async () => {
    const store = await openStore();
    await store.save(metadata(10), [bytes("x")]);
    const path = join(dir, (await readdir(dir))[0]!);
    const file = await readFile(path);
    file.writeUInt32LE(2, 8);
    await writeFile(path, file);
    await expect(store.loadNewest(() => true)).rejects.toMatchObject({ code: "FailedPrecondition" });
  });

  it("leaves nothing of a save that failed, and removes what a crash left", async () => {
    const store = await openStore();
    const failing = (function* () {
      yield bytes("half");
      throw new Error("no more");
    })();
    await expect(store.save(metadata(10), failing)).rejects.toThrow("no more");
    expect(await readdir(dir)).toEqual([]);
    await writeFile(join(dir, "crashed.snap.tmp"), "x");
    await openStore();
    expect(await readdir(dir)).toEqual([]);
  });

  it("seals the state", async () => {
    const sealers = new SealerRing({ current: new Uint8Array(32).fill(3) });
    const store = await openStore(nullLogger, sealers);
    await store.save(metadata(10), [bytes("top secret")]);
    const file = await readFile(join(dir, (await readdir(dir))[0]!));
    expect(file.includes("top secret")).toBe(false);
    expect(Buffer.concat((await store.load(10)).chunks).toString()).toBe("top secret");
  });
});

describe("encodeSnapshot", () => {
  it("gives the encoded message, whatever is in it, with pauses in between", async () => {
    const tasks = Array.from({ length: 1_001 }, (_, i) => Task.create({ id: `t${i}`, slot: i }));
    const membership = { members: [RaftMember.create({ raftId: 5n, nodeId: "n", addr: "a:1" })], removed: [7n] };
    for (const store of [StoreSnapshot.create(), StoreSnapshot.create({ tasks, nodes: [Node.create({ id: "n" })] })]) {
      let pauses = 0;
      const parts = [
        { ...store, tasks: store.tasks.slice(0, 500) },
        StoreSnapshot.create({ tasks: store.tasks.slice(500) }),
      ];
      const chunks = await encodeSnapshot(membership, parts, async () => void pauses++);
      expect(Snapshot.decode(Buffer.concat(chunks))).toEqual(Snapshot.create({ membership, store }));
      expect(pauses).toBe(2);
    }
  });
});
