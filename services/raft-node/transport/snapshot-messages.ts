import { StreamRaftMessageRequest } from "@starling/api";
import type { Message } from "raft-ts";
import { toWire } from "./message-codec.ts";
import { recut } from "./snapshot-parts.ts";

/** A MsgSnap once for each `partBytes` of the encoded snapshot, at least once, as Swarm's StreamRaftMessage takes it. */
export async function* snapshotMessages(
  message: Message,
  chunks: readonly Uint8Array[],
  partBytes: number,
): AsyncGenerator<StreamRaftMessageRequest> {
  const { metadata } = message.snapshot!;
  for (const data of recut(chunks, partBytes)) {
    yield StreamRaftMessageRequest.create({ message: toWire({ ...message, snapshot: { data, metadata } }) });
  }
}
