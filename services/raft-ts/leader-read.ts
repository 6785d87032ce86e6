/** Pure: no clock, no I/O, no randomness. */
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { bcastHeartbeat } from "./replicate.ts";
import { send } from "./send.ts";
import { type Message, MessageType, None, ReadOnlyOption } from "./types.ts";

// ReadIndex (Raft thesis §6.4): a read is linearizable at the commit index of its arrival, once it is certain that this
// node still led then.

/** MsgReadIndex at the leader. */
export function handleReadIndex(r: Raft, m: Message): void {
  if (r.tracker.isSingleton()) {
    respond(r, m, r.log.committed);
    return;
  }
  if (!r.committedEntryInCurrentTerm()) {
    // A new leader doesn't know yet what is committed.
    r.pendingReadIndexMessages.push(m);
    return;
  }
  confirm(r, m);
}

/** The commit index moved: reads that waited for the first entry of this term go on. */
export function releasePendingReadIndexMessages(r: Raft): void {
  if (r.pendingReadIndexMessages.length === 0) return;
  if (!r.committedEntryInCurrentTerm()) {
    r.logger.error(() => "pending MsgReadIndex should be released only after first commit in current term");
    return;
  }
  const waiting = r.pendingReadIndexMessages;
  r.pendingReadIndexMessages = [];
  for (const m of waiting) confirm(r, m);
}

/** A heartbeat response may complete the proof for some reads. */
export function releaseConfirmedReads(r: Raft, m: Message): void {
  if (r.readOnly.option !== ReadOnlyOption.ReadOnlySafe || m.context === undefined || m.context.length === 0) return;
  r.readOnly.recvAck(m.from, m.context);
  for (const { request, index } of r.readOnly.maybeAdvance(r.tracker.config.voters)) respond(r, request, index);
}

function confirm(r: Raft, m: Message): void {
  if (r.readOnly.option === ReadOnlyOption.ReadOnlyLeaseBased) {
    respond(r, m, r.log.committed);
    return;
  }
  r.readOnly.addRequest(r.log.committed, m);
  r.readOnly.recvAck(r.id, r.readOnly.heartbeatContext());
  bcastHeartbeat(r);
}

function respond(r: Raft, request: Message, index: number): void {
  if (request.from !== None && request.from !== r.id) {
    send(r, { type: MessageType.MsgReadIndexResp, to: request.from, index, entries: request.entries });
    return;
  }
  const [entry] = request.entries;
  if (entry === undefined) {
    r.logger.error(() => `${hex(r.id)} dropped a MsgReadIndex without a context`);
    return;
  }
  r.readStates.push({ index, requestCtx: entry.data });
}
