import { execFileSync } from "node:child_process";
import { mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RaftMember } from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { type Entry, emptyConfState } from "raft-ts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { nodeFiles, type WritableFile } from "../disk.ts";
import { SealerRing } from "../seal.ts";
import { decodeFrame, decodeHeader, encodeHeader, headerBytes } from "./format.ts";
import { Wal, type WalOptions } from "./wal.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "starling-wal-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const identity = RaftMember.create({ raftId: 0x7fff_ffff_ffff_fff1n, nodeId: "n1", addr: "10.0.0.1:4242" });
const entry = (index: number, term = 1, text = `entry ${index} `.repeat(10)): Entry => ({
  index,
  term,
  type: 0,
  data: Buffer.from(text),
});
const options = (more: Partial<WalOptions> = {}): WalOptions => ({
  dir,
  sealers: new SealerRing(),
  clock: systemClock,
  log: nullLogger,
  segmentBytes: 64 * 1024,
  ...more,
});

async function create(more: Partial<WalOptions> = {}): Promise<Wal> {
  return await Wal.create(options(more), { identity, hardState: { term: 1, vote: 7n, commit: 0 } });
}

/** What a restart reads: indexes with terms, commit index. */
async function reopened(more: Partial<WalOptions> = {}) {
  const opened = await Wal.open(options(more));
  if (opened === undefined) return undefined;
  await opened.wal.close();
  const { entries, hardState, mark } = opened.contents;
  return {
    entries: entries.map(({ index, term }) => `${index}@${term}`),
    commit: hardState?.commit,
    mark: mark?.index,
  };
}

/** This machine's disk, on which synced writes fail while it is broken. */
function failing(code: string) {
  const disk = {
    broken: true,
    open: 0,
    files: {
      ...nodeFiles,
      async openSynced(path: string): Promise<WritableFile> {
        const file = await nodeFiles.openSynced(path);
        disk.open++;
        return {
          async write(bytes, position) {
            if (disk.broken) throw Object.assign(new Error(`${code}: write`), { code });
            await file.write(bytes, position);
          },
          sync: () => file.sync(),
          async close() {
            disk.open--;
            await file.close();
          },
        };
      },
    },
  };
  return disk;
}

const segments = async () => (await readdir(dir)).filter((name) => name.endsWith(".wal")).sort();

describe("Wal", () => {
  it("makes the name of the newest segment durable before it goes on: a kill may have come before that", async () => {
    await (await create()).close();
    const calls: string[] = [];
    const files = {
      ...nodeFiles,
      openSynced: async (path: string) => {
        calls.push("open for writing");
        return await nodeFiles.openSynced(path);
      },
      syncDirectory: async (path: string) => {
        calls.push(`sync ${path === dir}`);
        await nodeFiles.syncDirectory(path);
      },
    };
    await reopened({ files });
    expect(calls.slice(0, 2)).toEqual(["sync true", "open for writing"]);
  });

  it("knows whose it is when the first frame of a file was torn, and the files before it are released", async () => {
    const wal = await create();
    for (let index = 1; (await segments()).length < 2; index++) await wal.append({ entries: [entry(index)] });
    await wal.close();
    const path = join(dir, (await segments())[1]!);
    const file = await readFile(path);
    await writeFile(path, file.fill(0, headerBytes));
    const { wal: again, contents } = (await Wal.open(options()))!;
    const next = contents.entries.length + 1;
    await again.append({ entries: [entry(next)] });
    await again.releaseTo(next - 1);
    await again.close();
    expect(await segments()).toHaveLength(1);
    expect(await reopened()).toMatchObject({ entries: [`${next}@1`] });
  });

  it("keeps the file that replaces one whose first frame was torn, when older files and keys go", async () => {
    const [a, b] = [{ current: new Uint8Array(32).fill(1) }, new Uint8Array(32).fill(2)];
    const wal = await create({ sealers: new SealerRing(a) });
    for (let index = 1; (await segments()).length < 2; index++) await wal.append({ entries: [entry(index)] });
    await wal.close();
    const path = join(dir, (await segments())[1]!);
    const file = await readFile(path);
    await writeFile(path, file.fill(0, headerBytes));

    const sealers = new SealerRing(a);
    const { wal: again, contents } = (await Wal.open(options({ sealers })))!;
    const last = contents.entries.at(-1)!;
    const mark = { index: last.index - 1, term: 1, confState: emptyConfState };
    sealers.rotate(b);
    await again.dropOlderKeys(mark, () => [last]);
    await again.append({ entries: [entry(last.index + 1)] });
    await again.releaseTo(mark.index);
    await again.close();
    expect(await reopened({ sealers: new SealerRing({ current: b }) })).toMatchObject({
      entries: [`${last.index}@1`, `${last.index + 1}@1`],
      mark: mark.index,
    });
  });

  it("gives back what was written: entries, the last hard state, whose it is", async () => {
    const wal = await create();
    await wal.append({ entries: [entry(1), entry(2)], hardState: { term: 1, vote: 7n, commit: 1 } });
    await wal.append({ entries: [entry(3)] });
    await wal.close();
    const { contents, wal: again } = (await Wal.open(options()))!;
    await again.close();
    expect(contents.identity).toMatchObject({ raftId: identity.raftId, addr: identity.addr });
    expect(contents.hardState).toMatchObject({ term: 1, vote: 7n, commit: 1 });
    expect(contents.entries).toEqual(
      [entry(1), entry(2), entry(3)].map((e) => ({ ...e, data: new Uint8Array(e.data) })),
    );
  });

  it("lets a later entry replace what stands at its index and behind it", async () => {
    const wal = await create();
    await wal.append({ entries: [entry(1), entry(2), entry(3), entry(4)] });
    await wal.append({ entries: [entry(3, 2)] });
    await wal.close();
    expect(await reopened()).toMatchObject({ entries: ["1@1", "2@1", "3@2"] });
  });

  it("starts anew behind a leader's snapshot", async () => {
    const wal = await create();
    await wal.append({ entries: [entry(1), entry(2)] });
    const confState = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    await wal.append({ mark: { index: 100, term: 3, confState }, hardState: { term: 3, vote: 0n, commit: 100 } });
    await wal.append({ entries: [entry(101, 3)] });
    await wal.close();
    expect(await reopened()).toEqual({ entries: ["101@3"], commit: 100, mark: 100 });
  });

  it("goes on over many segments and drops those that a snapshot covers", async () => {
    const wal = await create();
    for (let index = 1; index <= 200; index++) await wal.append({ entries: [entry(index, 1, "x".repeat(2_000))] });
    expect((await segments()).length).toBeGreaterThan(5);
    await wal.releaseTo(150);
    await wal.close();
    const { contents, wal: again } = (await Wal.open(options()))!;
    await again.close();
    expect(contents.entries.at(-1)!.index).toBe(200);
    expect(contents.entries[0]!.index).toBeLessThanOrEqual(151);
    expect(contents.entries[0]!.index).toBeGreaterThan(100);
    expect(contents.hardState).toMatchObject({ term: 1, vote: 7n });
  });

  it("reads entries that replace others, also when the first of those went with a file that was removed", async () => {
    const wal = await create();
    const append = (index: number, term: number) => wal.append({ entries: [entry(index, term, "x".repeat(2_000))] });
    for (let index = 1; index <= 40; index++) await append(index, 1);
    expect((await segments()).length).toBeGreaterThan(1);
    for (let index = 20; index <= 60; index++) await append(index, 2);
    await wal.releaseTo(35);
    await wal.close();
    const names = (await reopened())!.entries;
    expect(names).toEqual(Array.from({ length: names.length }, (_, i) => `${20 + i}@2`));
    expect(names.at(-1)).toBe("60@2");
  });

  it("takes a batch that is larger than a segment", async () => {
    const wal = await create();
    await wal.append({ entries: [entry(1), entry(2, 1, "y".repeat(300_000)), entry(3)] });
    await wal.close();
    expect(await reopened()).toMatchObject({ entries: ["1@1", "2@1", "3@1"] });
  });

  it("cuts a torn last write, wherever it was torn, and writes on behind the cut", async () => {
    const wal = await create();
    await wal.append({ entries: [entry(1)] });
    await wal.append({ entries: [entry(2), entry(3, 1, "last of all")] });
    await wal.close();
    const path = join(dir, (await segments())[0]!);
    const whole = await readFile(path);
    const frames = framesOf(whole);
    const last = frames.at(-1)!;
    for (let torn = last.start; torn < last.end; torn++) {
      const bytes = Buffer.from(whole);
      bytes.fill(0, torn);
      if (bytes.equals(whole)) continue;
      await writeFile(path, bytes);
      expect(await reopened(), `torn at byte ${torn}`).toMatchObject({ entries: ["1@1"] });
      expect((await readFile(path)).subarray(last.start).every((byte) => byte === 0)).toBe(true);
    }
    const { wal: again } = (await Wal.open(options()))!;
    await again.append({ entries: [entry(2, 2)] });
    await again.close();
    expect(await reopened()).toMatchObject({ entries: ["1@1", "2@2"] });
  });

  it("does not start on a disk too full to cut a torn write, says so, and cuts it once there is room", async () => {
    const wal = await create();
    await wal.append({ entries: [entry(1)] });
    await wal.append({ entries: [entry(2)] });
    await wal.close();
    const path = join(dir, (await segments())[0]!);
    const bytes = await readFile(path);
    bytes.fill(0, framesOf(bytes).at(-1)!.contentEnd - 5);
    await writeFile(path, bytes);
    const disk = failing("ENOSPC");
    await expect(Wal.open(options({ files: disk.files }))).rejects.toMatchObject({
      code: "ResourceExhausted",
      message: `disk full at ${dir}: free some space`,
    });
    expect(disk.open, "files left open").toBe(0);
    expect(await readFile(path)).toEqual(bytes);
    expect(await reopened()).toMatchObject({ entries: ["1@1"] });
  });

  it("takes nothing more after a write that failed: what it then holds is unknown", async () => {
    const disk = failing("EIO");
    disk.broken = false;
    const wal = await create({ files: disk.files });
    await wal.append({ entries: [entry(1)] });
    disk.broken = true;
    await expect(wal.append({ entries: [entry(2)] })).rejects.toThrow("EIO");
    disk.broken = false;
    await expect(wal.append({ entries: [entry(2)] })).rejects.toThrow("EIO");
    await wal.close();
    expect(await reopened()).toMatchObject({ entries: ["1@1"] });
  });

  it("takes a last write whose sectors came in the wrong order for torn, too", async () => {
    const wal = await create();
    await wal.append({ entries: [entry(1)] });
    await wal.append({ entries: [2, 3, 4].map((index) => entry(index, 1, "z".repeat(1_000))) });
    await wal.close();
    const path = join(dir, (await segments())[0]!);
    const bytes = await readFile(path);
    const last = framesOf(bytes).at(-1)!;
    bytes.fill(0, last.start, last.start + 1_024);
    await writeFile(path, bytes);
    expect(await reopened()).toMatchObject({ entries: ["1@1"] });
  });

  it("refuses damage that is followed by something valid, naming file and offset", async () => {
    const wal = await create();
    for (let index = 1; index <= 5; index++) await wal.append({ entries: [entry(index)] });
    await wal.close();
    const path = join(dir, (await segments())[0]!);
    const whole = await readFile(path);
    const frame = framesOf(whole)[2]!;
    for (let at = frame.start; at < frame.contentEnd; at++) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 0x10;
      await writeFile(path, bytes);
      await expect(Wal.open(options()), `byte ${at} flipped`).rejects.toMatchObject({
        code: "DataLoss",
        message: expect.stringContaining(`${path} at offset ${frame.start}`),
      });
    }
  });

  it("refuses a log of which a segment is missing", async () => {
    const wal = await create();
    for (let index = 1; index <= 100; index++) await wal.append({ entries: [entry(index, 1, "x".repeat(2_000))] });
    await wal.close();
    await rm(join(dir, (await segments())[1]!));
    await expect(Wal.open(options())).rejects.toMatchObject({
      code: "DataLoss",
      message: expect.stringMatching(/begins with frame/),
    });
  });

  it("refuses a newer format with a clear word", async () => {
    await (await create()).close();
    const path = join(dir, (await segments())[0]!);
    const decoded = decodeHeader(await readFile(path));
    if (decoded.t !== "ok") throw new Error(decoded.explain);
    const handle = await open(path, "r+");
    await handle.write(encodeHeader({ ...decoded.header, version: 9 }), 0, headerBytes, 0);
    await handle.close();
    await expect(Wal.open(options())).rejects.toMatchObject({
      code: "FailedPrecondition",
      message: expect.stringMatching(/version 9 is newer/),
    });
  });

  it("seals with the key, opens older segments with theirs, and names a key that is missing", async () => {
    const [older, newer] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    const first = new SealerRing({ current: older });
    const wal = await create({ sealers: first });
    await wal.append({ entries: [entry(1, 1, "top secret")] });
    await wal.close();
    const rotated = new SealerRing({ current: newer, older: [older] });
    const { wal: again } = (await Wal.open(options({ sealers: rotated })))!;
    await again.append({ entries: [entry(2, 1, "top secret")] });
    await again.close();
    const disk = Buffer.concat(await Promise.all((await segments()).map((name) => readFile(join(dir, name)))));
    expect(disk.includes("top secret")).toBe(false);
    expect(await reopened({ sealers: rotated })).toMatchObject({ entries: ["1@1", "2@1"] });
    await expect(reopened({ sealers: new SealerRing({ current: newer }) })).rejects.toMatchObject({
      code: "FailedPrecondition",
      message: expect.stringMatching(/was not given/),
    });
  });

  it("says nothing is there after its making was interrupted", async () => {
    await (await create()).close();
    const path = join(dir, (await segments())[0]!);
    const bytes = await readFile(path);
    bytes.fill(0, headerBytes + 20);
    await writeFile(path, bytes);
    expect(await reopened()).toBeUndefined();
    await (await create()).close();
    expect(await reopened()).toMatchObject({ entries: [] });
  });

  it.skipIf(process.getuid?.() !== 0)(
    "waits on a full disk, says so, and loses nothing that was acknowledged",
    async () => {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", dir]);
      try {
        const states: (string | undefined)[] = [];
        const told = Promise.withResolvers<void>();
        const onDiskFull = (state: string | undefined) => {
          states.push(state);
          told.resolve();
        };
        const small = { segmentBytes: 512 * 1024, onDiskFull };
        const wal = await create(small);
        await writeFile(join(dir, "ballast"), Buffer.alloc(600 * 1024));
        let acknowledged = 0;
        const writer = (async () => {
          for (let index = 1; index <= 60; index++) {
            await wal.append({ entries: [entry(index, 1, "x".repeat(30_000))] });
            acknowledged = index;
          }
        })();
        await told.promise;
        expect(states).toEqual([`disk full at ${dir}`]);
        expect(acknowledged).toBeGreaterThan(10);
        const before = acknowledged;
        await rm(join(dir, "ballast"));
        // Room for one more segment: enough to see the write go through.
        await Promise.race([writer, told.promise.then(() => untilMore(() => acknowledged > before))]);
        expect(states.slice(0, 2)).toEqual([`disk full at ${dir}`, undefined]);
        wal.interrupt();
        await writer.catch(() => undefined);
        await wal.close();
        const { contents, wal: again } = (await Wal.open(options(small)))!;
        await again.close();
        expect(contents.entries.length).toBeGreaterThanOrEqual(acknowledged);
      } finally {
        execFileSync("umount", [dir]);
      }
    },
  );
});

async function untilMore(probe: () => boolean): Promise<void> {
  while (!probe()) await systemClock.sleep(5);
}

/** Where each frame of a segment begins and ends; `contentEnd` is without the alignment. */
function framesOf(segment: Buffer): { readonly start: number; readonly contentEnd: number; readonly end: number }[] {
  const decoded = decodeHeader(segment);
  if (decoded.t !== "ok") throw new Error(decoded.explain);
  const frames = [];
  for (let start = headerBytes; ; ) {
    const frame = decodeFrame(segment, start, decoded.header.salt);
    if (frame === undefined) return frames;
    frames.push({ start, contentEnd: start + 16 + frame.payload.length, end: frame.end });
    start = frame.end;
  }
}
