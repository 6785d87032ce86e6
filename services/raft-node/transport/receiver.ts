import {
  ProcessRaftMessageResponse,
  type Raft,
  type RaftBatch,
  type RaftPeer,
  type RaftpbMessage,
  ResolveAddressResponse,
  StreamRaftMessageResponse,
} from "@starling/api";
import type { CallContext, Handlers } from "@starling/api/rpc";
import { SwarmError } from "@starling/base";
import { type Message, MessageType, noData } from "raft-ts";
import { fromWire } from "./message-codec.ts";
import { dataOfParts } from "./snapshot-parts.ts";

/** How a member learns that it is out (Swarm's text, with code NotFound). */
export const memberRemovedText = "raft: member was removed from the cluster";

/** The node, as those who receive for it see it. */
export interface Receiver {
  /** 0 while the node is not up. */
  readonly raftId: bigint;
  isRemoved(raftId: bigint): boolean;
  addressOf(raftId: bigint): string | undefined;
  step(message: Message): void;
  /** `addr` is where the sender says that it is reached. */
  streamOpened(from: bigint, addr: string): void;
  streamEnded(from: bigint): void;
  readonly stopping: AbortSignal;
}

/** An acknowledgement stands for so many batches or bytes at most, so that the sender's window never runs dry. */
const ackBatches = 64;
const ackMessages = 512;
const ackBytes = 64 * 1024;

/** One peer's messages, stepped in order. An empty batch asks for an acknowledgement at once. */
export function peerHandlers(receiver: Receiver): Handlers<typeof RaftPeer> {
  return {
    async *messages(requests, context) {
      let from: bigint | undefined;
      let batches = 0;
      let acked = 0;
      let messages = 0;
      try {
        for await (const batch of untilAborted(requests, receiver.stopping, context)) {
          checkBatch(receiver, batch);
          if (from === undefined) {
            from = batch.from;
            receiver.streamOpened(from, batch.addr);
          }
          for (const message of batch.messages) stepFromPeer(receiver, message);
          batches++;
          messages += batch.messages.length;
          const asked = batch.messages.length === 0;
          if (!asked && batches - acked < ackBatches && messages < ackMessages && !isLarge(batch)) continue;
          acked = batches;
          messages = 0;
          yield { batches };
        }
      } finally {
        if (from !== undefined) receiver.streamEnded(from);
      }
    },
  };
}

/** Swarm's own Raft service: single messages, snapshots in parts, addresses. */
export function raftHandlers(receiver: Receiver): Handlers<typeof Raft> {
  return {
    async processRaftMessage({ message }) {
      if (message !== undefined) stepFromPeer(receiver, message);
      return ProcessRaftMessageResponse.create();
    },
    async streamRaftMessage(requests) {
      const parts: RaftpbMessage[] = [];
      for await (const { message } of requests) {
        if (message === undefined) continue;
        checkPart(parts[0], message);
        parts.push(message);
      }
      if (parts[0] !== undefined) stepFromPeer(receiver, joinParts(parts[0], parts));
      return StreamRaftMessageResponse.create();
    },
    async resolveAddress({ raftId }) {
      const addr = receiver.addressOf(raftId);
      if (addr === undefined) throw new SwarmError("NotFound", `member ${raftId.toString(16)} not found`);
      return ResolveAddressResponse.create({ addr });
    },
  };
}

/** Does the batch carry so much that it should be acknowledged by itself? */
function isLarge(batch: RaftBatch): boolean {
  let bytes = 0;
  for (const { entries } of batch.messages) for (const { data } of entries) bytes += data.length;
  return bytes >= ackBytes;
}

function checkBatch(receiver: Receiver, { from, to }: RaftBatch): void {
  if (receiver.raftId === 0n) throw new SwarmError("Unavailable", "raft is not running here yet");
  if (receiver.isRemoved(from)) throw new SwarmError("NotFound", memberRemovedText);
  if (to !== receiver.raftId) {
    const [wanted, own] = [to.toString(16), receiver.raftId.toString(16)];
    throw new SwarmError("FailedPrecondition", `stream is meant for raft member ${wanted}, this is ${own}`);
  }
}

/** Steps what a peer sent; ignores what must not reach raft, as Swarm does. */
function stepFromPeer(receiver: Receiver, wire: RaftpbMessage): void {
  if (receiver.isRemoved(wire.from)) {
    // A follower passes these on as they are: the one who sent them here is still a member and must not hear otherwise.
    if (wire.type === MessageType.MsgReadIndex || wire.type === MessageType.MsgTransferLeader) return;
    throw new SwarmError("NotFound", memberRemovedText);
  }
  if (wire.to !== receiver.raftId) return;
  // Only the leader proposes: transactions of two managers could conflict.
  if (wire.type === MessageType.MsgProp) return;
  receiver.step(fromWire(wire));
}

function checkPart(first: RaftpbMessage | undefined, part: RaftpbMessage): void {
  if (first === undefined) return;
  if (part.index !== first.index) {
    const text = `Raft message chunk with index ${part.index} is different from the previously received raft message index ${first.index}`;
    throw new SwarmError("InvalidArgument", text);
  }
  if (part.type !== MessageType.MsgSnap) {
    throw new SwarmError("InvalidArgument", `Raft message chunk is not of type ${MessageType.MsgSnap}`);
  }
}

function joinParts(first: RaftpbMessage, parts: readonly RaftpbMessage[]): RaftpbMessage {
  if (parts.length === 1 || first.snapshot === undefined) return first;
  const data = dataOfParts(parts.map((part) => part.snapshot?.data ?? noData));
  return { ...first, snapshot: { ...first.snapshot, data } };
}

/** Ends, too, when the node stops or the caller goes away, however long the caller is silent. */
async function* untilAborted<T>(
  source: AsyncIterable<T>,
  stopping: AbortSignal,
  context: CallContext,
): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  const signal = AbortSignal.any([stopping, context.signal]);
  let wake: (() => void) | undefined;
  const onAbort = () => wake?.();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    while (!signal.aborted) {
      // No race with a promise that lives as long as the stream: it would keep everything that ever came.
      const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        wake = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined || next.done) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener("abort", onAbort);
    // Not awaited: it would wait for the caller's next message.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}
