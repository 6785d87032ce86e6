import { type ClusterSnapshot, Snapshot, StoreSnapshot } from "@starling/api";
import protobuf from "protobufjs/minimal.js";

/** Field 3 of docker.swarmkit.v1.Snapshot, length-delimited. */
const storeTag = (3 << 3) | 2;

/**
 * docker.swarmkit.v1.Snapshot in chunks that join to the encoded message; `pause` is awaited behind each part of the store. A
 * message is the concatenation of its parts in protobuf, so they can be encoded one by one.
 */
export async function encodeSnapshot(
  membership: ClusterSnapshot,
  store: Iterable<StoreSnapshot>,
  pause: () => Promise<void>,
): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (const part of store) {
    const chunk = StoreSnapshot.encode(part);
    chunks.push(chunk);
    length += chunk.length;
    await pause();
  }
  // The store is written last: what stands before it is the rest of the message and the store's length.
  const rest = Snapshot.encode(Snapshot.create({ membership }));
  const head = protobuf.Writer.create().uint32(storeTag).uint32(length).finish();
  return [stripEmptyStore(rest), head, ...chunks];
}

/** Snapshot.store is always written, here as `1a 00` at the end: the real one takes its place. */
function stripEmptyStore(encoded: Uint8Array): Uint8Array {
  const end = encoded.length - 2;
  return encoded[end] === storeTag && encoded[end + 1] === 0 ? encoded.subarray(0, end) : encoded;
}
