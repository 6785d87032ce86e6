/** Pure: no clock, no I/O, no randomness. */
import { ClusterSnapshot, Snapshot_Version, StoreSnapshot } from "@starling/api";
import { SwarmError } from "@starling/base";
import { ChunkReader } from "./chunk-reader.ts";

/** A part of docker.swarmkit.v1.Snapshot. */
export type SnapshotPart =
  | { readonly t: "membership"; readonly membership: ClusterSnapshot }
  | { readonly t: "store"; readonly store: StoreSnapshot };

const partObjects = 200;
const partBytes = 256 * 1024;
/** Tags of Snapshot's fields. */
const tags = { version: 0x08, membership: 0x12, store: 0x1a };

/**
 * Decodes a snapshot that comes in chunks, piece by piece: at most 200 objects (or 256 KiB, or one object) a part. The parts
 * hold nothing of the chunks' memory. Throws DataLoss when the chunks are no snapshot, FailedPrecondition when it is of a
 * version not known here; parts that came before are then to be dropped.
 */
export function* decodeSnapshot(chunks: readonly Uint8Array[]): Generator<SnapshotPart> {
  const reader = new ChunkReader(chunks);
  try {
    while (reader.left > 0) {
      const tag = reader.varint();
      if (tag === tags.version) checkVersion(reader.varint());
      else if (tag === tags.membership) {
        const membership = ClusterSnapshot.decode(reader.take(reader.varint()));
        yield { t: "membership", membership };
      } else if (tag === tags.store) yield* storeParts(reader, reader.varint());
      else reader.skipBody(tag);
    }
  } catch (cause) {
    if (cause instanceof SwarmError) throw cause;
    const text = `raft snapshot cannot be decoded at byte ${reader.offset}: ${(cause as Error).message}`;
    throw new SwarmError("DataLoss", text, { cause });
  }
}

function checkVersion(version: number): void {
  if (version === Snapshot_Version.V0) return;
  throw new SwarmError("FailedPrecondition", `raft snapshot has version ${version}, known here is 0`);
}

/** The next `length` bytes, a StoreSnapshot. Its fields stand side by side, so any run of them is a StoreSnapshot, too. */
function* storeParts(reader: ChunkReader, length: number): Generator<SnapshotPart> {
  const end = reader.offset + length;
  if (length > reader.left) throw new RangeError(`the store has ${length} bytes, ${reader.left} are left`);
  while (reader.offset < end) {
    const start = reader.offset;
    const bytes = reader.measure(() => {
      for (let fields = 0; fields < partObjects && reader.offset < Math.min(end, start + partBytes); fields++) {
        reader.skipBody(reader.varint());
      }
    });
    if (start + bytes > end) throw new RangeError(`a field runs past the end of the store at ${end}`);
    yield { t: "store", store: StoreSnapshot.decode(reader.take(bytes)) };
  }
}
