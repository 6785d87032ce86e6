/** Pure: no clock, no I/O, no randomness. */
import type { Raft } from "./raft.ts";
import {
  type Entry,
  type HardState,
  isEmptyHardState,
  isEmptySnapshot,
  LocalAppendThread,
  LocalApplyThread,
  type Message,
  MessageType,
  newMessage,
  type Snapshot,
} from "./types.ts";

// The messages between a node and its storage threads. Without asyncStorageWrites the requests are never sent, and
// `advance` steps the responses itself.

export interface StorageWork {
  readonly entries: readonly Entry[];
  readonly hardState?: HardState | undefined;
  readonly snapshot?: Snapshot | undefined;
}

/**
 * What the append thread is to do, or undefined if there is nothing to write and no message waits for earlier writes.
 * The node's own MsgStorageAppendResp comes last among the responses: its MsgAppResp is handled faster while the entries
 * are still unstable.
 */
export function storageAppend(r: Raft, work: StorageWork): Message | undefined {
  const hardState = isEmptyHardState(work.hardState) ? undefined : work.hardState;
  const snapshot = isEmptySnapshot(work.snapshot) ? undefined : work.snapshot;
  if (
    work.entries.length === 0 &&
    hardState === undefined &&
    snapshot === undefined &&
    r.msgsAfterAppend.length === 0
  ) {
    return undefined;
  }
  const own = storageAppendResp(r, work);
  return newMessage({
    type: MessageType.MsgStorageAppend,
    to: LocalAppendThread,
    from: r.id,
    entries: work.entries,
    ...hardState,
    snapshot,
    responses: own === undefined ? r.msgsAfterAppend : [...r.msgsAfterAppend, own],
  });
}

/**
 * The news that everything written so far is stable; undefined if raft doesn't need it.
 *
 * It names the last entry of the log, and takes effect only in the term in which it was made. Without the term: a node
 * gets entries from leader A, then others at the same indexes from C, then A's again; the first write completes, its
 * (index, term) matches the unstable log, yet the second write, still under way, will overwrite storage with C's. As
 * responses of an earlier term are dropped, every response names the last entry, not just those of writes that had
 * entries: the write of a new term's HardState makes up for them.
 */
export function storageAppendResp(r: Raft, { snapshot }: StorageWork): Message | undefined {
  const hasEntries = r.log.unstable.entries.length > 0;
  if (!hasEntries && isEmptySnapshot(snapshot)) return undefined;
  const last = hasEntries ? r.log.lastEntryId() : undefined;
  return newMessage({
    type: MessageType.MsgStorageAppendResp,
    to: r.id,
    from: LocalAppendThread,
    term: r.term,
    index: last?.index ?? 0,
    logTerm: last?.term ?? 0,
    snapshot: isEmptySnapshot(snapshot) ? undefined : snapshot,
  });
}

/** What the apply thread is to do. Committed entries have no term to be checked against: it is 0. */
export function storageApply(r: Raft, entries: readonly Entry[]): Message {
  return newMessage({
    type: MessageType.MsgStorageApply,
    to: LocalApplyThread,
    from: r.id,
    entries,
    responses: [storageApplyResp(r, entries)],
  });
}

export function storageApplyResp(r: Raft, entries: readonly Entry[]): Message {
  return newMessage({ type: MessageType.MsgStorageApplyResp, to: r.id, from: LocalApplyThread, entries });
}
