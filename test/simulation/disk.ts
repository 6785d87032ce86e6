import { dirname, join } from "node:path";
import type { Files, WritableFile } from "@starling/raft-node";
import type { Chance } from "./chance.ts";
import type { Process, Schedule } from "./schedule.ts";
import type { Trace } from "./trace.ts";

interface Write {
  readonly position: number;
  readonly bytes: Uint8Array;
}

/** A file: what its readers see, what is on the platter, and the writes that are on their way there. */
interface Inode {
  cached: Buffer;
  durable: Buffer;
  unsynced: Write[];
}

type Names = Map<string, Inode>;

const sectorBytes = 512;

/**
 * One host's disk. A write reaches the platter when it is synced; a power cut keeps any part of the others: none, some
 * sectors, all. Names (created, renamed, removed) become durable when their folder is synced; a power cut keeps as
 * many of each folder's changes, from the oldest on, as chance wants. Folders are durable when they are made.
 */
export class SimDisk {
  readonly #schedule: Schedule;
  readonly #chance: Chance;
  readonly #trace: Trace;
  readonly #host: string;
  #names: Names = new Map();
  #durableNames: Names = new Map();
  readonly #renames = new Map<string, ((names: Names) => void)[]>();
  #stalledUntil = 0;
  #failing = 0;
  #full = false;
  /** Called once, when the next synced write begins. */
  armed: (() => void) | undefined;
  /** A lying disk: says "synced" and is not. For mutants. */
  lies = false;

  constructor(options: { schedule: Schedule; chance: Chance; trace: Trace; host: string }) {
    this.#schedule = options.schedule;
    this.#chance = options.chance;
    this.#trace = options.trace;
    this.#host = options.host;
  }

  /** Every operation takes at least until `ms` from now. */
  stall(ms: number): void {
    this.#stalledUntil = this.#schedule.now + ms;
  }

  /** The next synced write fails. */
  failNext(): void {
    this.#failing = 1;
  }

  /** Nothing more may grow. */
  set full(full: boolean) {
    this.#full = full;
  }

  /** The host lost its power: what was not synced survives as chance wants. */
  powerCut(): void {
    for (const [, changes] of this.#renames) {
      const kept = this.#chance.below(changes.length + 1);
      for (const change of changes.slice(0, kept)) change(this.#durableNames);
      if (kept < changes.length) this.#trace.strike("name lost");
    }
    this.#renames.clear();
    this.#names = new Map(this.#durableNames);
    for (const inode of this.#names.values()) this.#settle(inode);
    this.#reset();
  }

  /** The process ended, the kernel lives on: everything that was written is there. */
  settle(): void {
    for (const inode of this.#names.values()) {
      // A write that was under way may have been done or not, in whole.
      for (const write of inode.unsynced.splice(0)) patch(inode, "durable", write.position, write.bytes);
      inode.cached = Buffer.from(inode.durable);
    }
    this.#reset();
  }

  /** Files as they are on the platter, for those who damage them. */
  durableFiles(): ReadonlyMap<string, Buffer> {
    return new Map([...this.#durableNames].map(([path, inode]) => [path, inode.durable]));
  }

  /** Flips a bit of a byte on the platter. Only while nobody has the file open. */
  flip(path: string, offset: number): void {
    const inode = this.#durableNames.get(path)!;
    inode.durable[offset]! ^= 1 << this.#chance.below(8);
    inode.cached = Buffer.from(inode.durable);
  }

  /** The file system as `process` sees it: nothing comes back once it is dead. */
  files(process: Process): Files {
    const lasting = <T>(ms: number, work: () => T) =>
      new Promise<T>((resolve, reject) => {
        const takes = this.#chance.between(ms / 4, ms);
        const stalls = this.#stalledUntil - this.#schedule.now;
        if (stalls > takes) this.#trace.strike("disk stalled");
        this.#schedule.after(Math.max(takes, stalls), process, () => {
          try {
            resolve(work());
          } catch (thrown) {
            reject(thrown);
          }
        });
      });
    const open = (inode: Inode, path: string, synced: boolean): WritableFile => ({
      write: (bytes, position) => {
        if (!synced && this.#grows(inode, bytes, position)) return lasting(0.2, () => this.#refuse("ENOSPC", path));
        const write = { position, bytes: Uint8Array.from(bytes) };
        patch(inode, "cached", position, bytes);
        inode.unsynced.push(write);
        if (synced) {
          const { armed } = this;
          this.armed = undefined;
          armed?.();
        }
        return lasting(synced ? 4 : 0.2, () => {
          if (!synced) return;
          if (this.#full && this.#chance.happens(0.5)) this.#refuse("ENOSPC", path);
          this.#maybeFail(path);
          if (this.lies) return;
          patch(inode, "durable", position, bytes);
          inode.unsynced = inode.unsynced.filter((other) => other !== write);
        });
      },
      sync: () =>
        lasting(4, () => {
          this.#maybeFail(path);
          if (this.lies) return;
          for (const { position, bytes } of inode.unsynced.splice(0)) patch(inode, "durable", position, bytes);
        }),
      close: () => lasting(0.1, () => undefined),
    });
    return {
      makeDirectory: () => lasting(1, () => undefined),
      list: (dir) => lasting(0.2, () => [...this.#names.keys()].filter((path) => dirname(path) === dir).map(nameOf)),
      read: (path) => lasting(1, () => Buffer.from(this.#must(path).cached)),
      create: (path) =>
        lasting(0.2, () => {
          if (this.#full) this.#refuse("ENOSPC", path);
          const inode: Inode = { cached: Buffer.alloc(0), durable: Buffer.alloc(0), unsynced: [] };
          this.#change(path, (names) => void names.set(path, inode));
          return open(inode, path, false);
        }),
      openSynced: (path) => lasting(0.2, () => open(this.#must(path), path, true)),
      rename: (from, to) =>
        lasting(0.2, () => {
          const inode = this.#must(from);
          this.#change(to, (names) => {
            names.delete(from);
            names.set(to, inode);
          });
        }),
      remove: (path) => lasting(0.2, () => this.#change(path, (names) => void names.delete(path))),
      syncDirectory: (dir) =>
        lasting(2, () => {
          if (this.lies) return;
          for (const change of this.#renames.get(dir) ?? []) change(this.#durableNames);
          this.#renames.delete(dir);
        }),
    };
  }

  #reset(): void {
    this.#failing = 0;
    this.#stalledUntil = 0;
    this.armed = undefined;
  }

  #must(path: string): Inode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw Object.assign(new Error(`ENOENT: no such file, '${path}'`), { code: "ENOENT" });
    return inode;
  }

  #change(path: string, change: (names: Names) => void): void {
    change(this.#names);
    const dir = dirname(path);
    const changes = this.#renames.get(dir);
    if (changes === undefined) this.#renames.set(dir, [change]);
    else changes.push(change);
  }

  #grows(inode: Inode, bytes: Uint8Array, position: number): boolean {
    return this.#full && position + bytes.length > inode.cached.length;
  }

  #refuse(code: "ENOSPC" | "EIO", path: string): never {
    this.#trace.strike(code === "EIO" ? "sync failed" : "disk full", this.#host, { path });
    throw Object.assign(new Error(`${code}: write, '${path}'`), { code });
  }

  #maybeFail(path: string): void {
    if (this.#failing === 0) return;
    this.#failing = 0;
    this.#refuse("EIO", path);
  }

  #settle(inode: Inode): void {
    for (const write of inode.unsynced.splice(0)) {
      const fate = this.#chance.below(3);
      if (fate === 0) this.#trace.strike("unsynced write lost");
      else if (fate === 1) patch(inode, "durable", write.position, write.bytes);
      else this.#tear(inode, write);
    }
    inode.cached = Buffer.from(inode.durable);
  }

  /** Some sectors of the write are on the platter; sector limits are those of the file. */
  #tear(inode: Inode, { position, bytes }: Write): void {
    let torn = false;
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + sectorBytes - ((position + at) % sectorBytes));
      if (this.#chance.happens(0.5)) patch(inode, "durable", position + at, bytes.subarray(at, end));
      else torn = true;
      at = end;
    }
    if (torn) this.#trace.strike("torn write");
  }
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function patch(inode: Inode, which: "cached" | "durable", position: number, bytes: Uint8Array): void {
  const end = position + bytes.length;
  if (inode[which].length < end) inode[which] = Buffer.concat([inode[which], Buffer.alloc(end - inode[which].length)]);
  inode[which].set(bytes, position);
}

export function walDir(stateDir: string): string {
  return join(stateDir, "raft", "wal");
}
