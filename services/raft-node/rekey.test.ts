import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { Annotations, Node, Secret, SecretSpec, StoreAction, StoreActionKind } from "@starling/api";
import { afterEach, describe, expect, it } from "vitest";
import { type Files, nodeFiles, type WritableFile } from "./disk.ts";
import { machineHost } from "./host.ts";
import type { RaftNodeOptions } from "./options.ts";
import { aesSealer, plainSealer, type RaftKeys } from "./seal.ts";
import { decodeSnapshotHeader } from "./snapshot-store/file-format.ts";
import { TestGroup, type TestManager, until } from "./testing.ts";
import { decodeHeader } from "./wal/format.ts";

const keyA = new Uint8Array(32).fill(1);
const keyB = new Uint8Array(32).fill(2);
const keyC = new Uint8Array(32).fill(3);

/** The disk of a machine that is switched off before the `count`th change to it: nothing changes any more. */
function powerCutAfter(count: number): Files & { readonly off: boolean } {
  let left = count;
  const change = async <T>(work: () => Promise<T>): Promise<T> => {
    if (left-- <= 0) throw new Error("the power is off");
    return await work();
  };
  const guarded = (file: WritableFile): WritableFile => ({
    write: (bytes, position) => change(() => file.write(bytes, position)),
    sync: () => change(() => file.sync()),
    close: () => file.close(),
  });
  return {
    ...nodeFiles,
    create: (path) => change(async () => guarded(await nodeFiles.create(path))),
    openSynced: (path) => change(async () => guarded(await nodeFiles.openSynced(path))),
    rename: (from, to) => change(() => nodeFiles.rename(from, to)),
    remove: (path) => change(() => nodeFiles.remove(path)),
    syncDirectory: (dir) => change(() => nodeFiles.syncDirectory(dir)),
    get off() {
      return left < 0;
    },
  };
}

let group: TestGroup | undefined;
afterEach(async () => {
  await group?.close();
  group = undefined;
});

/** A group of one whose options may be changed between its starts. */
async function single(first: Partial<RaftNodeOptions>) {
  const options: { -readonly [K in keyof RaftNodeOptions]?: RaftNodeOptions[K] } = {};
  let retired = 0;
  Object.assign(options, { ...first, segmentBytes: 64 * 1024, onKeysRetired: () => void retired++ });
  const made = await TestGroup.create(options);
  group = made;
  const manager = await made.add("n1");
  await until("it leads", () => manager.raft.isLeader);
  return {
    manager,
    folder: join(made.dir, "n1"),
    retired: () => retired,
    /** On a disk whose power is cut it need not get far. */
    async restart(keys: RaftKeys, disk?: ReturnType<typeof powerCutAfter>) {
      await made.kill(manager);
      options.keys = keys;
      if (disk) options.host = { ...machineHost(() => credentials.createInsecure()), files: disk };
      else delete options.host;
      manager.machine.applied = [];
      await made.start(manager).catch((thrown: unknown) => {
        if (!disk?.off) throw thrown;
      });
      await until("it leads again, or the power is off", () => manager.raft.isLeader || disk?.off);
    },
    /** Which keys seal what is on disk. */
    async sealedWith(): Promise<string[]> {
      const raft = join(made.dir, "n1", "raft");
      const names = await Promise.all(
        ["wal", "snapshots"].map(async (dir) => (await readdir(join(raft, dir))).map((name) => join(raft, dir, name))),
      );
      const keys = { a: aesSealer(keyA), b: aesSealer(keyB), c: aesSealer(keyC), none: plainSealer };
      const found = new Set<string>();
      for (const path of names.flat().filter((name) => /\.(wal|snap)$/.test(name))) {
        const bytes = await readFile(path);
        const header = path.endsWith(".wal") ? decodeHeader(bytes) : decodeSnapshotHeader(bytes);
        if (header.t !== "ok") throw new Error(`${path}: ${header.explain}`);
        const fingerprint = "header" in header ? header.header.keyFingerprint : header.fingerprint;
        const key = Object.entries(keys).find(([, sealer]) => Buffer.compare(sealer.fingerprint, fingerprint) === 0);
        found.add(key?.[0] ?? "unknown");
      }
      return [...found].sort();
    },
  };
}

const propose = (manager: TestManager, prefix: string, count = 20) =>
  Promise.all(Array.from({ length: count }, (_, i) => manager.propose(`${prefix}${i}`)));

describe("a change of the data key", () => {
  it("replaces everything on an idle member, and again while it writes; then the old key is not needed", async () => {
    const { manager, retired, restart, sealedWith } = await single({ keys: { current: keyA } });
    await propose(manager, "a");
    expect(await sealedWith()).toEqual(["a"]);
    manager.raft.rotateKey(keyB);
    await until("the old key is retired", () => retired() === 1);
    expect(await sealedWith()).toEqual(["b"]);
    await restart({ current: keyB });
    expect(manager.machine.applied).toHaveLength(20);
    await propose(manager, "b");
    const writing = propose(manager, "c", 500);
    manager.raft.rotateKey(keyC);
    await writing;
    await until("the second is, too", () => retired() === 2);
    expect(await sealedWith()).toEqual(["c"]);
    const before = [...manager.machine.applied];
    await restart({ current: keyC });
    expect(manager.machine.applied).toEqual(before);
  });

  it("seals a log that was written in the clear", async () => {
    const { manager, retired, restart, sealedWith } = await single({});
    await propose(manager, "a");
    expect(await sealedWith()).toEqual(["none"]);
    await restart({ current: keyA });
    await until("nothing is left in the clear", () => retired() === 1);
    expect(await sealedWith()).toEqual(["a"]);
    await restart({ current: keyA });
    expect(manager.machine.applied).toHaveLength(20);
  });

  it("asked for twice in a row, leaves only the last key", async () => {
    const { manager, retired, restart, sealedWith } = await single({ keys: { current: keyA } });
    await propose(manager, "a");
    manager.raft.rotateKey(keyB);
    manager.raft.rotateKey(keyC);
    await until("the older keys are retired", () => retired() === 1);
    expect(await sealedWith()).toEqual(["c"]);
    await restart({ current: keyC });
    expect(manager.machine.applied).toHaveLength(20);
  });

  it("leaves no byte of a secret in the state folder, whatever becomes of the log", async () => {
    const text = "a-secret-that-nobody-may-read";
    const raw = Buffer.from("c0ffee00d15ea5e0badcafe0feedface0123456789abcdef", "hex");
    const tell = [Buffer.from(text), Buffer.from(text, "utf16le"), raw, Buffer.from(raw.toString("hex"))];
    const traces = [...tell, ...tell.map((bytes) => Buffer.from(bytes.toString("base64").slice(0, -4)))];
    const { manager, retired, restart, folder } = await single({
      keys: { current: keyA },
      snapshots: { intervalEntries: 30, keepEntries: 5 },
    });
    const found = async () => {
      const names = await readdir(folder, { recursive: true, withFileTypes: true });
      const files = names.filter((name) => name.isFile()).map((name) => join(name.parentPath, name.name));
      const contents = await Promise.all(files.map((path) => readFile(path)));
      expect(files.length).toBeGreaterThan(1);
      return files.filter((_, i) => traces.some((trace) => contents[i]!.includes(trace)));
    };
    const write = async (prefix: string) => {
      const spec = SecretSpec.create({ annotations: Annotations.create({ name: text }), data: raw });
      for (let i = 0; i < 40; i++) {
        const secret = Secret.create({ id: `${prefix}${i}`, spec });
        const action = StoreAction.create({ action: StoreActionKind.STORE_ACTION_CREATE, secret });
        const node = StoreAction.create({
          action: StoreActionKind.STORE_ACTION_CREATE,
          node: Node.create({ id: `${text}${prefix}${i}` }),
        });
        await manager.raft.propose([action, node], () => void manager.machine.applied.push(`${text}${prefix}${i}`));
      }
    };
    await write("a");
    await until("a snapshot holds them", () => manager.raft.status().firstIndex > 1);
    expect(await found()).toEqual([]);
    manager.raft.rotateKey(keyB);
    await write("b");
    await until("the old key is retired", () => retired() === 1);
    expect(await found()).toEqual([]);
    await restart({ current: keyB });
    expect(manager.machine.applied.filter((id) => id.startsWith(text))).toHaveLength(80);
    expect(await found()).toEqual([]);
    // The search finds what lies open.
    await writeFile(join(folder, "leak"), `xx${raw.toString("hex")}`);
    expect(await found()).toEqual([join(folder, "leak")]);
  });

  it("loses nothing by a power cut at any point of it, and is finished by the next start", {
    timeout: 120_000,
  }, async () => {
    let cuts = 0;
    for (let finished = false; !finished; cuts++) {
      const { manager, retired, restart, sealedWith } = await single({ keys: { current: keyA } });
      await propose(manager, "a", 5);
      const acknowledged = [...manager.machine.applied];
      const disk = powerCutAfter(cuts);
      await restart({ current: keyA }, disk);
      if (!disk.off) manager.raft.rotateKey(keyB);
      await until("it is done, or the power is off", () => retired() === 1 || disk.off);
      finished = retired() === 1;
      await restart({ current: keyB, older: [keyA] });
      expect(manager.machine.applied, `power off after ${cuts} changes`).toEqual(acknowledged);
      await until("the old key is retired", () => retired() === (finished ? 2 : 1));
      expect(await sealedWith()).toEqual(["b"]);
      await restart({ current: keyB });
      expect(manager.machine.applied).toEqual(acknowledged);
      await group!.close();
    }
    expect(cuts).toBeGreaterThan(10);
  });
});
