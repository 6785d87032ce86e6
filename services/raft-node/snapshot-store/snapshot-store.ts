import { join } from "node:path";
import { RaftpbSnapshotMetadata } from "@starling/api";
import { type Clock, type Logger, metrics, SwarmError } from "@starling/base";
import type { SnapshotMetadata } from "raft-ts";
import { type Files, nodeFiles } from "../disk.ts";
import { type NextTurn, pauses } from "../next-turn.ts";
import type { SealerRing } from "../seal.ts";
import { encodeMetadata } from "../wal/wal.ts";
import { decodePieces, decodeSnapshotHeader, encodeSnapshotHeader, PieceEncoder } from "./file-format.ts";

export interface SnapshotStoreOptions {
  readonly dir: string;
  /** Default: this machine's. */
  readonly files?: Files;
  readonly sealers: SealerRing;
  readonly clock: Clock;
  readonly log: Logger;
  /** Default: this machine's. */
  readonly nextTurn?: NextTurn | undefined;
}

export interface LoadedSnapshot {
  readonly metadata: SnapshotMetadata;
  /** docker.swarmkit.v1.Snapshot, encoded, in chunks of any size. */
  readonly chunks: readonly Uint8Array[];
}

/** Larger chunks are cut: one is sealed without a pause. */
const pieceBytesMax = 1024 * 1024;
const saveLatency = metrics.histogram("swarm_raft_snapshot_latency_seconds", "Time to write a raft snapshot to disk.");

/** Snapshot files of one member: written whole or not at all. */
export class SnapshotStore {
  readonly #options: SnapshotStoreOptions;
  readonly #files: Files;
  readonly #pause: () => Promise<void>;

  private constructor(options: SnapshotStoreOptions) {
    this.#options = options;
    this.#files = options.files ?? nodeFiles;
    this.#pause = pauses(options.nextTurn);
  }

  /** Makes the folder and drops what an interrupted save left. */
  static async open(options: SnapshotStoreOptions): Promise<SnapshotStore> {
    const files = options.files ?? nodeFiles;
    await files.makeDirectory(options.dir);
    for (const name of await files.list(options.dir)) {
      if (name.endsWith(".tmp")) await files.remove(join(options.dir, name));
    }
    // A snapshot that a killed process has just renamed must not lose its name after parts of the log have gone for it.
    await files.syncDirectory(options.dir);
    return new SnapshotStore(options);
  }

  /** Saves a snapshot; durable when it resolves. Rejects with the file system's error, leaving nothing behind. */
  async save(metadata: SnapshotMetadata, chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
    const { dir, sealers, clock } = this.#options;
    const sealer = sealers.current;
    const started = clock.monotonic();
    const path = join(dir, snapshotName(metadata));
    const temporary = `${path}.tmp`;
    const file = await this.#files.create(temporary);
    let position = 0;
    const write = async (bytes: Uint8Array) => {
      await file.write(bytes, position);
      position += bytes.length;
    };
    try {
      await write(encodeSnapshotHeader(sealer.fingerprint, encodeMetadata(metadata)));
      const pieces = new PieceEncoder();
      for await (const chunk of chunks) {
        for (let at = 0; at < chunk.length; at += pieceBytesMax) {
          const sealed = sealer.seal(chunk.subarray(at, at + pieceBytesMax));
          await write(pieces.piece(sealed));
          await write(sealed);
        }
      }
      await write(pieces.end());
      await file.sync();
    } catch (thrown) {
      await file.close();
      await this.#files.remove(temporary);
      throw thrown;
    }
    await file.close();
    await this.#files.rename(temporary, path);
    await this.#files.syncDirectory(dir);
    saveLatency.observe((clock.monotonic() - started) / 1000);
  }

  /** Indexes of the snapshots on disk, newest first. */
  async indexes(): Promise<number[]> {
    return (await this.#names()).map(indexOfName);
  }

  /**
   * Removes all but the newest `keep` (at least 2, so that a damaged newest one is not the end). Returns the index of the
   * newest but one, from which the log must lead on; 0 when there is only one.
   */
  async prune(keep = 2): Promise<number> {
    const names = await this.#names();
    for (const name of names.slice(Math.max(keep, 2))) await this.#files.remove(join(this.#options.dir, name));
    return names[1] === undefined ? 0 : indexOfName(names[1]);
  }

  /** Removes the snapshots that older keys seal, except one; gone for ever when it resolves. */
  async removeOfOlderKeys({ keep }: { readonly keep: number }): Promise<void> {
    const { dir } = this.#options;
    for (const name of await this.#ofOlderKeys()) {
      if (indexOfName(name) !== keep) await this.#files.remove(join(dir, name));
    }
    await this.#files.syncDirectory(dir);
  }

  async hasOlderKeys(): Promise<boolean> {
    return (await this.#ofOlderKeys()).length > 0;
  }

  /**
   * The newest snapshot that `accept` takes and that is whole; a damaged one is passed over with a line in the log.
   * Throws FailedPrecondition for a newer format or a missing key.
   */
  async loadNewest(accept: (metadata: SnapshotMetadata) => boolean): Promise<LoadedSnapshot | undefined> {
    for (const name of await this.#names()) {
      try {
        const loaded = await this.#load(name);
        if (accept(loaded.metadata)) return loaded;
        this.#options.log.warn("raft snapshot passed over: the log does not lead to it", { file: name });
      } catch (thrown) {
        if (!(thrown instanceof SwarmError) || thrown.code !== "DataLoss") throw thrown;
        this.#options.log.error("raft snapshot passed over: damaged", { file: name, error: thrown });
      }
    }
    return undefined;
  }

  /** The snapshot at `index`. Throws DataLoss when it is damaged, NotFound when it is gone. */
  async load(index: number): Promise<LoadedSnapshot> {
    const name = (await this.#names()).find((candidate) => indexOfName(candidate) === index);
    if (name === undefined) throw new SwarmError("NotFound", `no snapshot at index ${index} in ${this.#options.dir}`);
    return this.#load(name);
  }

  async #load(name: string): Promise<LoadedSnapshot> {
    const path = join(this.#options.dir, name);
    const file = await this.#files.read(path);
    const header = decodeSnapshotHeader(file);
    if (header.t !== "ok") {
      if (header.t === "bad") throw new SwarmError("DataLoss", `${path}: ${header.explain}`);
      throw new SwarmError("FailedPrecondition", `${path}: ${header.explain}: start a program that is as new as it`);
    }
    const sealer = this.#options.sealers.byFingerprint(header.fingerprint, path);
    const chunks: Uint8Array[] = [];
    for (const piece of decodePieces(file, header.end)) {
      if (typeof piece === "number") throw new SwarmError("DataLoss", `${path}: bad piece at offset ${piece}`);
      chunks.push(sealer.open(piece));
      await this.#pause();
    }
    const { confState, index, term } = RaftpbSnapshotMetadata.decode(header.metadata);
    return { metadata: { confState, index, term }, chunks };
  }

  async #ofOlderKeys(): Promise<string[]> {
    const { dir, sealers } = this.#options;
    const found: string[] = [];
    for (const name of await this.#names()) {
      const header = decodeSnapshotHeader(await this.#files.read(join(dir, name)));
      if (header.t !== "ok" || !sealers.isCurrent(header.fingerprint)) found.push(name);
    }
    return found;
  }

  async #names(): Promise<string[]> {
    const names = await this.#files.list(this.#options.dir);
    return names
      .filter((name) => /^[0-9a-f]{16}-[0-9a-f]{16}\.snap$/.test(name))
      .sort()
      .reverse();
  }
}

/** `<index>-<term>.snap` in hexadecimal, so that names sort by index. */
function snapshotName({ index, term }: SnapshotMetadata): string {
  const hex = (value: number) => value.toString(16).padStart(16, "0");
  return `${hex(index)}-${hex(term)}.snap`;
}

function indexOfName(name: string): number {
  return Number.parseInt(name.slice(0, 16), 16);
}
