import { crc32 } from "node:zlib";

// A snapshot file is a header, the metadata, and pieces until an empty one that ends it:
//
//   header    magic 8 | version u32 | 0 u32 | key fingerprint 16 | metadata length u32 | crc32 of all before and the metadata u32
//   metadata  raftpb.SnapshotMetadata
//   piece     length u32 | crc32 u32 | bytes (sealed when there is a key)
//   end       0 u32 | crc32 of all the pieces' crc32s u32
// Integers are little-endian. The pieces' plain bytes, joined, are docker.swarmkit.v1.Snapshot.

export const snapshotFormatVersion = 1;
const magic = Buffer.from("STARSNAP", "latin1");
export const fixedHeaderBytes = 40;

export function encodeSnapshotHeader(fingerprint: Uint8Array, metadata: Uint8Array): Buffer {
  const out = Buffer.alloc(fixedHeaderBytes + metadata.length);
  magic.copy(out, 0);
  out.writeUInt32LE(snapshotFormatVersion, 8);
  out.set(fingerprint, 16);
  out.writeUInt32LE(metadata.length, 32);
  out.set(metadata, fixedHeaderBytes);
  out.writeUInt32LE(headerCrc(out), 36);
  return out;
}

function headerCrc(header: Buffer): number {
  return crc32(header.subarray(fixedHeaderBytes), crc32(header.subarray(0, 36)));
}

/** `bytes` begin with the file; `end` is the offset of the first piece. */
export function decodeSnapshotHeader(
  bytes: Buffer,
):
  | { readonly t: "ok"; readonly fingerprint: Buffer; readonly metadata: Buffer; readonly end: number }
  | { readonly t: "newer" | "bad"; readonly explain: string } {
  if (bytes.length < fixedHeaderBytes || !bytes.subarray(0, 8).equals(magic)) {
    return { t: "bad", explain: "not a snapshot file" };
  }
  const version = bytes.readUInt32LE(8);
  if (version > snapshotFormatVersion) {
    const known = snapshotFormatVersion;
    return { t: "newer", explain: `snapshot format version ${version} is newer than ${known}, the newest known here` };
  }
  const end = fixedHeaderBytes + bytes.readUInt32LE(32);
  if (end > bytes.length || headerCrc(bytes.subarray(0, end)) !== bytes.readUInt32LE(36)) {
    return { t: "bad", explain: "header check sum does not match" };
  }
  return { t: "ok", fingerprint: bytes.subarray(16, 32), metadata: bytes.subarray(fixedHeaderBytes, end), end };
}

/** Frames pieces one after the other and keeps the sum that ends the file. */
export class PieceEncoder {
  #sum = 0;

  piece(bytes: Uint8Array): Buffer {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(bytes.length, 0);
    head.writeUInt32LE(crc32(bytes), 4);
    this.#sum = crc32(head.subarray(4), this.#sum);
    return head;
  }

  end(): Buffer {
    const out = Buffer.alloc(8);
    out.writeUInt32LE(this.#sum, 4);
    return out;
  }
}

/** The pieces from `offset` on, as views; a number instead is the offset of what is bad, and the last that is given. */
export function* decodePieces(file: Buffer, offset: number): Generator<Buffer | number> {
  let sum = 0;
  for (let at = offset; at + 8 <= file.length; ) {
    const length = file.readUInt32LE(at);
    const crc = file.readUInt32LE(at + 4);
    if (length === 0) {
      if (crc !== sum || at + 8 !== file.length) yield at;
      return;
    }
    const piece = file.subarray(at + 8, at + 8 + length);
    if (piece.length !== length || crc32(piece) !== crc) {
      yield at;
      return;
    }
    sum = crc32(file.subarray(at + 4, at + 8), sum);
    yield piece;
    at += 8 + length;
  }
  yield file.length;
}
