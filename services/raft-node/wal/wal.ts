import { randomBytes } from "node:crypto";
import { join } from "node:path";
import {
  JoinResponse,
  RaftMember,
  RaftpbConfState,
  RaftpbEntry,
  RaftpbHardState,
  RaftpbSnapshotMetadata,
} from "@starling/api";
import { assert, type Clock, type Logger, metrics, SwarmError } from "@starling/base";
import type { Entry, HardState, SnapshotMetadata } from "raft-ts";
import { type Files, isDiskFull, nodeFiles, type WritableFile } from "../disk.ts";
import type { Sealer, SealerRing } from "../seal.ts";
import {
  encodeFrame,
  encodeRecords,
  formatVersion,
  frameBytes,
  headerBytes,
  RecordType,
  type SegmentHeader,
  type WalRecord,
} from "./format.ts";
import { Replay, readSegment, type WalContents } from "./replay.ts";
import { activateSpare, createSpare, isSegmentName, segmentName, spareName } from "./segment.ts";

export interface WalOptions {
  readonly dir: string;
  /** Default: this machine's. */
  readonly files?: Files;
  readonly sealers: SealerRing;
  readonly clock: Clock;
  readonly log: Logger;
  /** Default 16 MiB. On a disk that cannot hold that much more, the smallest that does: 256 KiB at least. */
  readonly segmentBytes?: number;
  /** Called when a write must wait for room on the disk ("disk full at …"), and with undefined when it went through. */
  readonly onDiskFull?: (state: string | undefined) => void;
}

/** One synced write: what raft wants durable. */
export interface WalBatch {
  readonly hardState?: HardState | undefined;
  readonly entries?: readonly Entry[];
  /** A snapshot from the leader, saved already: the log starts anew behind it. */
  readonly mark?: SnapshotMetadata | undefined;
}

interface Segment {
  readonly path: string;
  readonly keyFingerprint: Uint8Array;
  maxIndex: number;
}

const defaultSegmentBytes = 16 * 1024 * 1024;
const smallestSegmentBytes = 256 * 1024;
/** Size of a file that is made while a write waits for it. */
const inlineSegmentBytes = 1024 * 1024;
const diskFullRetryMs = 200;

const writeLatency = metrics.histogram("swarm_raft_wal_write_seconds", "Time of one synced write to the raft log.");
const writtenBytes = metrics.counter("swarm_raft_wal_written_bytes_total", "Bytes written to the raft log.");

/**
 * The write-ahead log. `append` resolves when its batch is on disk; one at a time (the caller groups what arrives
 * meanwhile). A full disk makes it wait and retry; any other failure rejects, and the log takes no more writes.
 */
export class Wal {
  readonly #options: WalOptions;
  readonly #files: Files;
  readonly #identity: RaftMember;
  readonly #abort = new AbortController();
  /** Oldest first; the last is written to. */
  #segments: Segment[];
  #file: WritableFile | undefined;
  #header: SegmentHeader | undefined;
  #segmentBytes = 0;
  #offset = 0;
  #nextSequence: number;
  #hardState: HardState | undefined;
  #spare: Promise<number> | undefined;
  #writing = false;
  #failed: unknown;

  private constructor(options: WalOptions, identity: RaftMember, segments: Segment[], nextSequence: number) {
    this.#options = options;
    this.#files = options.files ?? nodeFiles;
    this.#identity = identity;
    this.#segments = segments;
    this.#nextSequence = nextSequence;
  }

  /**
   * Makes the log of a new member, durable when it resolves. Throws ResourceExhausted when the disk is full: at this
   * point somebody is there to read it.
   */
  static async create(
    options: WalOptions,
    first: WalBatch & { readonly identity: RaftMember; readonly joined?: JoinResponse | undefined },
  ): Promise<Wal> {
    const files = options.files ?? nodeFiles;
    await files.makeDirectory(options.dir);
    await removeUnfinished(files, options.dir);
    const wal = new Wal(options, first.identity, [], 1);
    wal.#hardState = first.hardState;
    const joined = first.joined
      ? [{ type: RecordType.Joined, data: JoinResponse.encode(first.joined) } satisfies WalRecord]
      : [];
    try {
      await wal.#writeFrame([...joined, ...recordsOf(first)], {
        maxIndex: first.entries?.at(-1)?.index ?? 0,
        wait: false,
      });
    } catch (thrown) {
      throw refusedIfFull(thrown, options.dir);
    }
    return wal;
  }

  /**
   * Reads the log and goes on behind it; a torn last frame is cut. Undefined when there is none (or its making was not
   * finished). Throws as `readSegment` does, and ResourceExhausted when a torn frame cannot be cut on a full disk.
   */
  static async open(options: WalOptions): Promise<{ readonly wal: Wal; readonly contents: WalContents } | undefined> {
    const { sealers, files = nodeFiles } = options;
    const names = await segmentNames(files, options.dir);
    // A process that was killed may have left a segment whose name a power cut would take back, with all that is written to it.
    if (names.length > 0) await files.syncDirectory(options.dir);
    const replay = new Replay();
    const segments: Segment[] = [];
    let sequence: number | undefined;
    let tail: Awaited<ReturnType<typeof readSegment>> | undefined;
    for (const [i, name] of names.entries()) {
      const path = join(options.dir, name);
      tail = await readSegment(files, path, { replay, sealers, sequence, last: i === names.length - 1 });
      sequence = tail.nextSequence;
      segments.push({ path, keyFingerprint: tail.header.keyFingerprint, maxIndex: tail.maxIndex });
    }
    const contents = replay.contents();
    if (contents === undefined || tail === undefined || sequence === undefined) return undefined;
    const wal = new Wal(options, contents.identity, segments, sequence);
    wal.#hardState = contents.hardState;
    const last = segments.at(-1)!;
    const file = await files.openSynced(last.path);
    if (tail.dirtyEnd > tail.end) {
      options.log.warn("raft log: cut a torn write at the end", { file: last.path, offset: tail.end });
      try {
        await file.write(Buffer.alloc(tail.dirtyEnd - tail.end), tail.end);
      } catch (thrown) {
        // A file system that copies on write needs room for this, too.
        await file.close();
        throw refusedIfFull(thrown, options.dir);
      }
    }
    if (sealers.isCurrent(tail.header.keyFingerprint) && tail.header.version === formatVersion) {
      wal.#file = file;
      wal.#header = tail.header;
      wal.#offset = tail.end;
      wal.#segmentBytes = tail.bytes;
    } else await file.close();
    wal.#prepareSpare();
    return { wal, contents };
  }

  /** Files of the log, for status and tests. */
  get segmentCount(): number {
    return this.#segments.length;
  }

  /** Makes `batch` durable. */
  async append(batch: WalBatch): Promise<void> {
    if (batch.hardState) this.#hardState = batch.hardState;
    const maxIndex = batch.entries?.at(-1)?.index ?? 0;
    await this.#writeFrame(recordsOf(batch), { maxIndex, wait: true });
  }

  /** Removes the segments whose entries all stand at or before `index`: they are in a snapshot. */
  async releaseTo(index: number): Promise<void> {
    const removed: string[] = [];
    while (this.#segments.length > 1 && this.#segments[0]!.maxIndex <= index) {
      removed.push(this.#segments.shift()!.path);
    }
    await this.#remove(removed);
  }

  /** Oldest first, so that a crash in between leaves no gap. */
  async #remove(paths: readonly string[]): Promise<void> {
    for (const path of paths) await this.#files.remove(path);
    if (paths.length > 0) await this.#files.syncDirectory(this.#options.dir);
  }

  /** Is a part of the log sealed with another key than the current one? */
  get hasOlderKeys(): boolean {
    return this.#segments.some(({ keyFingerprint }) => !this.#options.sealers.isCurrent(keyFingerprint));
  }

  /**
   * Leaves only files that the current key seals, gone for ever when it resolves. REQUIRES: the snapshot `mark` is on disk;
   * `entries` are those behind it. They are written again unless the current key's files lead on from the snapshot already.
   */
  async dropOlderKeys(mark: SnapshotMetadata, entries: () => readonly Entry[]): Promise<void> {
    if (!this.hasOlderKeys) return;
    const { sealers } = this.#options;
    const isOld = ({ keyFingerprint }: Segment) => !sealers.isCurrent(keyFingerprint);
    const lastOf = (segments: readonly Segment[]) => Math.max(0, ...segments.map(({ maxIndex }) => maxIndex));
    const leadsOn =
      lastOf(this.#segments.filter(isOld)) <= mark.index &&
      lastOf(this.#segments.filter((segment) => !isOld(segment))) >= mark.index;
    if (!leadsOn) await this.append({ mark, hardState: this.#hardState, entries: entries() });
    const removed: string[] = [];
    while (isOld(this.#segments[0]!)) removed.push(this.#segments.shift()!.path);
    await this.#remove(removed);
  }

  /** Ends a wait for room on the disk: its batch is not written. */
  interrupt(): void {
    this.#abort.abort(new SwarmError("Cancelled", "raft log is closed"));
  }

  async close(): Promise<void> {
    this.interrupt();
    this.#failed ??= new SwarmError("Cancelled", "raft log is closed");
    await this.#spare?.catch(() => undefined);
    await this.#file?.close();
    this.#file = undefined;
  }

  async #writeFrame(records: readonly WalRecord[], options: { maxIndex: number; wait: boolean }): Promise<void> {
    assert(!this.#writing, "raft log: two writes at once");
    if (this.#failed !== undefined) throw this.#failed;
    this.#writing = true;
    const sealer = this.#options.sealers.current;
    const started = this.#options.clock.monotonic();
    try {
      // A segment whose first frame was torn is written to again.
      const first = this.#file !== undefined && this.#offset === headerBytes;
      let payload = sealer.seal(encodeRecords(first ? [...this.#preamble(), ...records] : records));
      const rekeyed = Buffer.compare(this.#header?.keyFingerprint ?? sealer.fingerprint, sealer.fingerprint) !== 0;
      if (this.#file === undefined || rekeyed || this.#offset + frameBytes(payload.length) > this.#segmentBytes) {
        payload = sealer.seal(encodeRecords([...this.#preamble(), ...records]));
        await this.#retryWhileFull(options.wait, () => this.#cut(sealer, headerBytes + frameBytes(payload.length)));
      }
      const frame = encodeFrame(this.#header!.salt, this.#nextSequence, payload);
      await this.#retryWhileFull(options.wait, () => this.#file!.write(frame, this.#offset));
      this.#offset += frame.length;
      this.#nextSequence++;
      const segment = this.#segments.at(-1)!;
      segment.maxIndex = Math.max(segment.maxIndex, options.maxIndex);
      writtenBytes.inc(frame.length);
      writeLatency.observe((this.#options.clock.monotonic() - started) / 1000);
    } catch (thrown) {
      this.#failed = thrown;
      throw thrown;
    } finally {
      this.#writing = false;
    }
  }

  /** What every segment begins with, so that older ones may go. */
  #preamble(): WalRecord[] {
    const records: WalRecord[] = [{ type: RecordType.Identity, data: RaftMember.encode(this.#identity) }];
    if (this.#hardState) records.push(hardStateRecord(this.#hardState));
    return records;
  }

  /** Goes on in a new segment of this key that holds at least `leastBytes`. */
  async #cut({ fingerprint }: Sealer, leastBytes: number): Promise<void> {
    const { dir } = this.#options;
    let spareBytes = this.#spare === undefined ? 0 : await this.#spare.catch(() => 0);
    this.#spare = undefined;
    // Somebody waits: a small file now, the next one in full size.
    if (spareBytes < leastBytes) spareBytes = await this.#makeSpare(inlineSegmentBytes, leastBytes);
    const header: SegmentHeader = {
      version: formatVersion,
      firstSequence: this.#nextSequence,
      salt: randomBytes(8),
      keyFingerprint: fingerprint,
    };
    const { file, path } = await activateSpare(this.#files, dir, header);
    await this.#file?.close();
    this.#file = file;
    this.#header = header;
    this.#offset = headerBytes;
    this.#segmentBytes = spareBytes;
    // A segment that never got a whole frame bore the same name: the new one has replaced it.
    if (this.#segments.at(-1)?.path === path) this.#segments.pop();
    this.#segments.push({ path, keyFingerprint: fingerprint, maxIndex: 0 });
    this.#prepareSpare();
  }

  /** Its failure shows when the spare is needed: until then there is room in the current segment. */
  #prepareSpare(): void {
    this.#spare = this.#makeSpare(defaultSegmentBytes, 0);
    this.#spare.catch((thrown: unknown) => {
      this.#options.log.warn("raft log: cannot prepare the next segment", { error: thrown });
    });
  }

  /** Makes a spare as large as `bytes` and the configuration say, or as the disk allows. Returns its size. */
  async #makeSpare(bytes: number, leastBytes: number): Promise<number> {
    const { dir, segmentBytes = defaultSegmentBytes } = this.#options;
    const wanted = Math.max(Math.min(bytes, segmentBytes), leastBytes);
    try {
      await createSpare(this.#files, dir, wanted);
      return wanted;
    } catch (thrown) {
      const smaller = Math.max(smallestSegmentBytes, leastBytes);
      if (!isDiskFull(thrown) || smaller >= wanted) throw thrown;
      await createSpare(this.#files, dir, smaller);
      return smaller;
    }
  }

  /** Runs `work` until it meets room on the disk. Every write has a position of its own, so that it may be repeated. */
  async #retryWhileFull(wait: boolean, work: () => Promise<void>): Promise<void> {
    const { dir, clock, log, onDiskFull } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        await work();
        if (attempt > 0) {
          log.info("raft log: there is room again", { dir, attempts: attempt });
          onDiskFull?.(undefined);
        }
        return;
      } catch (thrown) {
        if (!wait || !isDiskFull(thrown)) throw thrown;
        if (attempt === 0) {
          log.error(`disk full at ${dir}: this manager acknowledges nothing until there is room`, { dir });
          onDiskFull?.(`disk full at ${dir}`);
        }
        await clock.sleep(diskFullRetryMs, this.#abort.signal);
      }
    }
  }
}

/** A full disk in words for somebody who starts the node; any other error as it is. */
function refusedIfFull(thrown: unknown, dir: string): unknown {
  if (!isDiskFull(thrown)) return thrown;
  return new SwarmError("ResourceExhausted", `disk full at ${dir}: free some space`, { cause: thrown });
}

function recordsOf({ mark, hardState, entries = [] }: WalBatch): WalRecord[] {
  const records: WalRecord[] = [];
  if (mark) records.push({ type: RecordType.SnapshotMark, data: encodeMetadata(mark) });
  if (hardState) records.push(hardStateRecord(hardState));
  for (const entry of entries) records.push({ type: RecordType.Entry, data: RaftpbEntry.encode(entry) });
  return records;
}

function hardStateRecord({ term, vote, commit }: HardState): WalRecord {
  return { type: RecordType.HardState, data: RaftpbHardState.encode({ term, vote, commit }) };
}

export function encodeMetadata({ confState, index, term }: SnapshotMetadata): Uint8Array {
  return RaftpbSnapshotMetadata.encode({ confState: RaftpbConfState.create(confState), index, term });
}

async function segmentNames(files: Files, dir: string): Promise<string[]> {
  return (await files.list(dir)).filter(isSegmentName).sort();
}

/** A crash while the log was made leaves a first segment without a whole frame, or a spare. */
async function removeUnfinished(files: Files, dir: string): Promise<void> {
  for (const name of [segmentName(1), spareName]) await files.remove(join(dir, name));
  const left = (await segmentNames(files, dir))[0];
  if (left === undefined) return;
  const { length } = await files.read(join(dir, left));
  throw new SwarmError("DataLoss", `raft log is damaged: ${join(dir, left)} (${length} bytes) has no log before it`);
}
