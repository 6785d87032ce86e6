/** Pure: no clock, no I/O, no randomness. */
import { RaftpbConfState, type RaftpbMessage, type RaftpbSnapshot } from "@starling/api";
import { isEmptySnapshot, type Message, newMessage, noData, type Snapshot } from "raft-ts";
import { owningEntry } from "../owned.ts";

const noResponses: readonly never[] = Object.freeze([]);

/** raft's message in the shape of the wire. Local storage messages never come here. */
export function toWire(message: Message): RaftpbMessage {
  return {
    type: message.type,
    to: message.to,
    from: message.from,
    term: message.term,
    logTerm: message.logTerm,
    index: message.index,
    entries: message.entries,
    commit: message.commit,
    vote: message.vote,
    snapshot: message.snapshot === undefined ? undefined : snapshotToWire(message.snapshot),
    reject: message.reject,
    rejectHint: message.rejectHint,
    context: message.context ?? noData,
    responses: noResponses,
  };
}

function snapshotToWire({ data, metadata }: Snapshot): RaftpbSnapshot {
  const { confState, index, term } = metadata;
  return { data, metadata: { confState: RaftpbConfState.create(confState), index, term } };
}

/** A peer's message as raft takes it; its entries hold nothing of the message's memory. An empty snapshot, which older encoders always send, counts as none. */
export function fromWire(message: RaftpbMessage): Message {
  const { snapshot, context } = message;
  return newMessage({
    type: message.type,
    to: message.to,
    from: message.from,
    term: message.term,
    logTerm: message.logTerm,
    index: message.index,
    entries: message.entries.map(owningEntry),
    commit: message.commit,
    vote: message.vote,
    snapshot: isEmptySnapshot(snapshot) ? undefined : snapshot,
    reject: message.reject,
    rejectHint: message.rejectHint,
    context: context.length === 0 ? undefined : context,
  });
}

/** Bytes a message takes at about, for the bounds of queues. */
export function approximateBytes(message: Message): number {
  let bytes = 64 + (message.context?.length ?? 0);
  for (const entry of message.entries) bytes += 16 + entry.data.length;
  return bytes;
}
