import { type ClusterSnapshot, Snapshot, StoreSnapshot } from "@starling/api";
import protobuf from "protobufjs/minimal.js";

const sliceObjects = 200;
/** Field 3 of docker.swarmkit.v1.Snapshot, length-delimited. */
const storeTag = (3 << 3) | 2;

/**
 * docker.swarmkit.v1.Snapshot in chunks that join to the encoded message, at most 200 objects encoded between two calls of
 * `pause`. A message is the concatenation of its parts in protobuf, so slices of the tables can be encoded one by one.
 */
export async function encodeSnapshot(
  membership: ClusterSnapshot,
  store: StoreSnapshot,
  pause: () => Promise<void>,
): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (const [table, objects] of Object.entries(store)) {
    if (table === "$unknown") continue;
    for (let at = 0; at < objects.length; at += sliceObjects) {
      const part = StoreSnapshot.create({ [table]: objects.slice(at, at + sliceObjects) });
      const chunk = StoreSnapshot.encode(part);
      chunks.push(chunk);
      length += chunk.length;
      await pause();
    }
  }
  // The store is sent last: what stands before it is the rest of the message and the store's length.
  const rest = Snapshot.encode(Snapshot.create({ membership }));
  const head = protobuf.Writer.create().uint32(storeTag).uint32(length).finish();
  return [stripEmptyStore(rest), head, ...chunks];
}

/** Snapshot.store is always written, here as `1a 00` at the end: the real one takes its place. */
function stripEmptyStore(encoded: Uint8Array): Uint8Array {
  const end = encoded.length - 2;
  return encoded[end] === storeTag && encoded[end + 1] === 0 ? encoded.subarray(0, end) : encoded;
}
