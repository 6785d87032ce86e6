import { crc32 } from "node:zlib";

// A segment file is a header and then frames, back to back, each 8-byte aligned, and zeros to its end. One frame is one
// synced write: a batch of records. Frames are numbered without a gap over all segments, so a lost or misplaced one is
// seen. The check sum starts from the segment's random salt: bytes of a payload never pass for a frame.
//
//   header  magic 8 | version u32 | 0 u32 | first sequence u64 | salt 8 | key fingerprint 16 | 0 … | crc32 u32   = 64 bytes
//   frame   length u32 | crc32 u32 | sequence u64 | payload (sealed as one piece when there is a key) | zeros
//   payload type u8 | length u32 | data, repeated
// Integers are little-endian.

export const formatVersion = 1;
export const headerBytes = 64;
export const frameHeaderBytes = 16;
const magic = Buffer.from("STARWAL\n", "latin1");

/** What a record holds, as the number on disk. Numbers are never used again. */
export const RecordType = {
  /** raftpb.Entry; replaces what stands at its index and after it. */
  Entry: 1,
  /** raftpb.HardState */
  HardState: 2,
  /** raftpb.SnapshotMetadata of a snapshot that came from the leader: the log starts anew after it. */
  SnapshotMark: 3,
  /** docker.swarmkit.v1.RaftMember: whose log this is. */
  Identity: 4,
  /** docker.swarmkit.v1.JoinResponse: the peers to answer until the log names them. */
  Joined: 5,
} as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export interface WalRecord {
  readonly type: RecordType;
  readonly data: Uint8Array;
}

export interface SegmentHeader {
  readonly version: number;
  readonly firstSequence: number;
  /** 8 bytes. */
  readonly salt: Uint8Array;
  /** 16 bytes that name the key of the frames; zeros: not sealed. */
  readonly keyFingerprint: Uint8Array;
}

export function encodeHeader(header: SegmentHeader): Buffer {
  const out = Buffer.alloc(headerBytes);
  magic.copy(out, 0);
  out.writeUInt32LE(header.version, 8);
  out.writeBigUInt64LE(BigInt(header.firstSequence), 16);
  out.set(header.salt, 24);
  out.set(header.keyFingerprint, 32);
  out.writeUInt32LE(crc32(out.subarray(0, headerBytes - 4)), headerBytes - 4);
  return out;
}

/** The header, or what is wrong with it. The version comes first: what follows it may have moved in a newer format. */
export function decodeHeader(
  bytes: Buffer,
): { readonly t: "ok"; readonly header: SegmentHeader } | { readonly t: "newer" | "bad"; readonly explain: string } {
  if (bytes.length < headerBytes) return { t: "bad", explain: `${bytes.length} bytes are no segment header` };
  if (!bytes.subarray(0, 8).equals(magic)) return { t: "bad", explain: "not a log segment (wrong magic)" };
  const version = bytes.readUInt32LE(8);
  if (version > formatVersion) {
    return {
      t: "newer",
      explain: `log format version ${version} is newer than ${formatVersion}, the newest known here`,
    };
  }
  if (bytes.readUInt32LE(headerBytes - 4) !== crc32(bytes.subarray(0, headerBytes - 4))) {
    return { t: "bad", explain: "header check sum does not match" };
  }
  return {
    t: "ok",
    header: {
      version,
      firstSequence: Number(bytes.readBigUInt64LE(16)),
      salt: Uint8Array.from(bytes.subarray(24, 32)),
      keyFingerprint: Uint8Array.from(bytes.subarray(32, 48)),
    },
  };
}

/** The records as one payload. */
export function encodeRecords(records: readonly WalRecord[]): Buffer {
  let size = 0;
  for (const { data } of records) size += 5 + data.length;
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const { type, data } of records) {
    out[at] = type;
    out.writeUInt32LE(data.length, at + 1);
    out.set(data, at + 5);
    at += 5 + data.length;
  }
  return out;
}

/** The records of a payload, as views into it. Throws RangeError when it is not a payload. */
export function decodeRecords(payload: Buffer): WalRecord[] {
  const records: WalRecord[] = [];
  for (let at = 0; at < payload.length; ) {
    if (at + 5 > payload.length) throw new RangeError(`record header at ${at} runs past the frame's end`);
    const length = payload.readUInt32LE(at + 1);
    if (at + 5 + length > payload.length) throw new RangeError(`record at ${at} runs past the frame's end`);
    records.push({ type: payload[at] as RecordType, data: payload.subarray(at + 5, at + 5 + length) });
    at += 5 + length;
  }
  return records;
}

/** Bytes that a frame with such a payload takes on disk. */
export function frameBytes(payloadBytes: number): number {
  return (frameHeaderBytes + payloadBytes + 7) & ~7;
}

export function encodeFrame(salt: Uint8Array, sequence: number, payload: Uint8Array): Buffer {
  const out = Buffer.alloc(frameBytes(payload.length));
  out.writeUInt32LE(payload.length, 0);
  out.writeBigUInt64LE(BigInt(sequence), 8);
  out.set(payload, frameHeaderBytes);
  out.writeUInt32LE(frameCrc(salt, out, 0, payload.length), 4);
  return out;
}

export interface Frame {
  readonly sequence: number;
  /** A view into the segment. */
  readonly payload: Buffer;
  /** Offset of what follows the frame. */
  readonly end: number;
}

/** The frame at `offset`, or undefined when no valid one is there. */
export function decodeFrame(segment: Buffer, offset: number, salt: Uint8Array): Frame | undefined {
  if (offset + frameHeaderBytes > segment.length) return undefined;
  const length = segment.readUInt32LE(offset);
  if (length === 0 || length > segment.length - offset - frameHeaderBytes) return undefined;
  if (segment.readUInt32LE(offset + 4) !== frameCrc(salt, segment, offset, length)) return undefined;
  const start = offset + frameHeaderBytes;
  const sequence = Number(segment.readBigUInt64LE(offset + 8));
  return { sequence, payload: segment.subarray(start, start + length), end: offset + frameBytes(length) };
}

/** Offset of the first valid frame after `offset` whose sequence is at least `sequence`; undefined when there is none. */
export function findFrame(segment: Buffer, offset: number, salt: Uint8Array, sequence: number): number | undefined {
  for (let at = (offset + 7) & ~7; at + frameHeaderBytes <= segment.length; at += 8) {
    // Cheap tests first: most of what is looked at is zeros or the inside of a payload.
    if (segment.readUInt32LE(at) === 0) continue;
    const found = segment.readBigUInt64LE(at + 8);
    if (found < BigInt(sequence) || found > BigInt(sequence) + 1_000_000_000n) continue;
    if (decodeFrame(segment, at, salt) !== undefined) return at;
  }
  return undefined;
}

function frameCrc(salt: Uint8Array, bytes: Buffer, offset: number, length: number): number {
  const seed = crc32(bytes.subarray(offset, offset + 4), crc32(salt));
  return crc32(bytes.subarray(offset + 8, offset + frameHeaderBytes + length), seed);
}
