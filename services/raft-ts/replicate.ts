/** Pure: no clock, no I/O, no randomness. */
import { ErrSnapshotTemporarilyUnavailable } from "./errors.ts";
import { panic } from "./logger.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { send } from "./send.ts";
import { type Progress, ProgressState } from "./tracker/progress.ts";
import { type Entry, isEmptySnapshot, MessageType, noEntries, type Snapshot } from "./types.ts";
import { payloadsSize } from "./wire.ts";

// What a leader sends to bring its peers' logs up to its own.

/** Send entries to `to`, or an empty MsgApp that carries the commit index. */
export function sendAppend(r: Raft, to: bigint): void {
  maybeSendAppend(r, to, true);
}

/** Send what `to` lacks, a snapshot if the log no longer has it. Was anything sent? */
export function maybeSendAppend(r: Raft, to: bigint, sendIfEmpty: boolean): boolean {
  const pr = r.tracker.progress.get(to)!;
  if (pr.isPaused()) return false;

  const prevIndex = pr.next - 1;
  const prevTerm = r.log.term(prevIndex);
  if (prevTerm === undefined) return maybeSendSnapshot(r, to, pr);

  // With a full window an empty MsgApp still goes out now and then: if all in flight were lost, its answer frees the
  // window.
  let entries: readonly Entry[] | undefined = noEntries;
  if (pr.state !== ProgressState.StateReplicate || !pr.inflights.isFull()) {
    entries = r.log.entries(pr.next, r.config.maxSizePerMsg);
  }
  if ((entries === undefined || entries.length === 0) && !sendIfEmpty) return false;
  if (entries === undefined) return maybeSendSnapshot(r, to, pr);

  const commit = r.log.committed;
  send(r, { type: MessageType.MsgApp, to, index: prevIndex, logTerm: prevTerm, entries, commit });
  pr.sentEntries(entries.length, payloadsSize(entries));
  pr.sentCommit = commit;
  return true;
}

function maybeSendSnapshot(r: Raft, to: bigint, pr: Progress): boolean {
  if (!pr.recentActive) {
    r.logger.debug(() => `ignore sending snapshot to ${hex(to)} since it is not recently active`);
    return false;
  }
  let snapshot: Snapshot;
  try {
    snapshot = r.log.snapshot();
  } catch (err) {
    if (err !== ErrSnapshotTemporarilyUnavailable) throw err;
    r.logger.debug(
      () => `${hex(r.id)} failed to send snapshot to ${hex(to)} because snapshot is temporarily unavailable`,
    );
    return false;
  }
  if (isEmptySnapshot(snapshot)) panic(r.logger, () => `need non-empty snapshot for ${hex(to)} [${pr}]`);
  const { index, term } = snapshot.metadata;
  r.logger.debug(
    () =>
      `${hex(r.id)} [firstindex: ${r.log.firstIndex()}, commit: ${r.log.committed}] sent snapshot[index: ${index}, term: ${term}] to ${hex(to)} [${pr}]`,
  );
  pr.becomeSnapshot(index);
  r.logger.debug(() => `${hex(r.id)} paused sending replication messages to ${hex(to)} [${pr}]`);
  send(r, { type: MessageType.MsgSnap, to, snapshot });
  return true;
}

/** sendAppend to everyone else. */
export function bcastAppend(r: Raft): void {
  for (const [id] of r.tracker.ordered) if (id !== r.id) sendAppend(r, id);
}

/** Heartbeats to everyone else; they carry the context that confirms waiting reads. */
export function bcastHeartbeat(r: Raft): void {
  const context = r.readOnly.heartbeatContext();
  for (const [id, pr] of r.tracker.ordered) {
    if (id === r.id) continue;
    // Never tell a peer to commit what is not known to be in its log.
    const commit = Math.min(pr.match, r.log.committed);
    send(r, { type: MessageType.MsgHeartbeat, to: id, commit, context });
    pr.sentCommit = commit;
  }
}

/** Leader: advance the commit index as far as the quorum allows. If it moved, peers should hear of it. */
export function maybeCommit(r: Raft): boolean {
  return r.log.maybeCommit({ term: r.term, index: r.tracker.committed() });
}

/** Leader: append `entries`, giving them index and term. False if they exceed the limit of uncommitted bytes. */
export function appendEntries(r: Raft, entries: readonly Entry[]): boolean {
  if (!increaseUncommittedSize(r, entries)) {
    r.logger.warn(
      () => `${hex(r.id)} appending new entries to log would exceed uncommitted entry size limit; dropping proposal`,
    );
    return false;
  }
  const next = r.log.lastIndex() + 1;
  const { term } = r;
  const last = r.log.append(entries.map(({ type, data }, i): Entry => ({ term, index: next + i, type, data })));
  // The leader acknowledges its own entries as peers do, once they are durable.
  send(r, { type: MessageType.MsgAppResp, to: r.id, index: last });
  return true;
}

/**
 * Count `entries` against the limit. One proposal always fits into an empty tail, and empty payloads (a new leader's
 * entry, leaving a joint configuration) are never refused.
 */
function increaseUncommittedSize(r: Raft, entries: readonly Entry[]): boolean {
  const size = payloadsSize(entries);
  if (r.uncommittedSize > 0 && size > 0 && r.uncommittedSize + size > r.config.maxUncommittedEntriesSize) return false;
  r.uncommittedSize += size;
  return true;
}

/** `size` payload bytes were committed. Those of former leaders were never counted here, so it saturates at 0. */
export function reduceUncommittedSize(r: Raft, size: number): void {
  r.uncommittedSize = Math.max(0, r.uncommittedSize - size);
}
