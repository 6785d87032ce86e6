import { JoinResponse, RaftMember, RaftpbEntry, RaftpbHardState, RaftpbSnapshotMetadata } from "@starling/api";
import { SwarmError } from "@starling/base";
import type { Entry, HardState, SnapshotMetadata } from "raft-ts";
import type { Files } from "../disk.ts";
import { owningEntry } from "../owned.ts";
import type { SealerRing } from "../seal.ts";
import {
  decodeFrame,
  decodeHeader,
  decodeRecords,
  findFrame,
  headerBytes,
  RecordType,
  type SegmentHeader,
} from "./format.ts";

/** What a log says when it is read from its start. */
export interface WalContents {
  readonly identity: RaftMember;
  readonly joined: JoinResponse | undefined;
  readonly hardState: HardState | undefined;
  /** The last snapshot taken over from a leader: entries follow it without a gap. */
  readonly mark: SnapshotMetadata | undefined;
  /** Consecutive. The first may be any: what is before it was trimmed. */
  readonly entries: readonly Entry[];
}

export interface ReadSegment {
  readonly header: SegmentHeader;
  /** Where the next frame goes. */
  readonly end: number;
  /** End of the last byte that is not zero, `end` when nothing was torn. */
  readonly dirtyEnd: number;
  readonly bytes: number;
  readonly nextSequence: number;
  /** Highest index among its entries, 0 when it has none. */
  readonly maxIndex: number;
}

/** Collects records into the state that they describe. */
export class Replay {
  #identity: RaftMember | undefined;
  #joined: JoinResponse | undefined;
  #hardState: HardState | undefined;
  #mark: SnapshotMetadata | undefined;
  #entries: Entry[] = [];

  /** Takes one record. Throws RangeError when it does not fit what came before. Returns an entry's index, else 0. */
  add(type: RecordType, data: Uint8Array): number {
    switch (type) {
      case RecordType.Entry:
        return this.#addEntry(RaftpbEntry.decode(data));
      case RecordType.HardState:
        this.#hardState = RaftpbHardState.decode(data);
        return 0;
      case RecordType.SnapshotMark:
        this.#mark = RaftpbSnapshotMetadata.decode(data);
        this.#entries = [];
        return 0;
      case RecordType.Identity:
        this.#identity = RaftMember.decode(data);
        return 0;
      case RecordType.Joined:
        this.#joined = JoinResponse.decode(data);
        return 0;
      default:
        throw new RangeError(`record type ${type} is unknown`);
    }
  }

  #addEntry({ term, index, type, data }: RaftpbEntry): number {
    const first = this.#entries[0]?.index ?? (this.#mark ? this.#mark.index + 1 : index);
    // Entries that another leader's replaced may begin later than these, when the files before theirs were removed.
    const at = index < first && index > (this.#mark?.index ?? 0) ? 0 : index - first;
    if (at < 0 || at > this.#entries.length || index === 0) {
      throw new RangeError(`entry ${index} follows entry ${first + this.#entries.length - 1}`);
    }
    this.#entries.length = at;
    this.#entries.push(owningEntry({ term, index, type, data }));
    return index;
  }

  /** Undefined when not even the identity was written: the log was never finished being made. */
  contents(): WalContents | undefined {
    if (this.#identity === undefined) return undefined;
    return {
      identity: this.#identity,
      joined: this.#joined,
      hardState: this.#hardState,
      mark: this.#mark,
      entries: this.#entries,
    };
  }
}

/**
 * Reads one segment into `replay`.
 * @param last is it the newest segment: only there can a frame be torn.
 * @throws SwarmError DataLoss naming file and offset when something that was durable is damaged; FailedPrecondition when
 * the format is newer or the key is missing.
 */
export async function readSegment(
  files: Files,
  path: string,
  options: {
    readonly replay: Replay;
    readonly sealers: SealerRing;
    readonly sequence: number | undefined;
    readonly last: boolean;
  },
): Promise<ReadSegment> {
  const segment = await files.read(path);
  const decoded = decodeHeader(segment);
  if (decoded.t !== "ok") {
    if (decoded.t === "bad") throw damaged(path, 0, decoded.explain);
    throw new SwarmError(
      "FailedPrecondition",
      `${path}: ${decoded.explain}: start a program that is as new as this log`,
    );
  }
  const { header } = decoded;
  if (options.sequence !== undefined && header.firstSequence !== options.sequence) {
    const gap = `begins with frame ${header.firstSequence}, but the log so far ends before frame ${options.sequence}`;
    throw damaged(path, 0, gap);
  }
  const sealer = options.sealers.byFingerprint(header.keyFingerprint, path);
  let sequence = header.firstSequence;
  let offset = headerBytes;
  let maxIndex = 0;
  for (;;) {
    const frame = decodeFrame(segment, offset, header.salt);
    if (frame === undefined) break;
    if (frame.sequence !== sequence) {
      throw damaged(path, offset, `frame ${frame.sequence} stands where frame ${sequence} is expected`);
    }
    try {
      for (const { type, data } of decodeRecords(Buffer.from(sealer.open(frame.payload)))) {
        maxIndex = Math.max(maxIndex, options.replay.add(type, data));
      }
    } catch (thrown) {
      throw damaged(path, offset, (thrown as Error).message);
    }
    offset = frame.end;
    sequence++;
  }
  const dirtyEnd = Math.max(offset, endOfBytes(segment, offset));
  const later = dirtyEnd > offset ? findFrame(segment, offset, header.salt, sequence) : undefined;
  if (later !== undefined) throw damaged(path, offset, `frame ${sequence} is bad, yet a valid one follows at ${later}`);
  if (dirtyEnd > offset && !options.last)
    throw damaged(path, offset, `frame ${sequence} is bad, yet a later file exists`);
  return { header, end: offset, dirtyEnd, bytes: segment.length, nextSequence: sequence, maxIndex };
}

function damaged(path: string, offset: number, explain: string): SwarmError {
  const remedy = "restore this manager from a backup, or remove it from the cluster and let it join anew";
  return new SwarmError("DataLoss", `raft log is damaged: ${path} at offset ${offset}: ${explain}; ${remedy}`);
}

/** Where the zeros at the end of `bytes` begin; `from` when there is nothing else behind it. */
function endOfBytes(bytes: Buffer, from: number): number {
  let end = bytes.length;
  while (end > from && bytes[end - 1] === 0) end--;
  return end;
}
