/** Pure: no clock, no I/O, no randomness. */

import { confStateText } from "./describe-conf.ts";
import { restoreConfState } from "./membership.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { becomeFollower } from "./roles.ts";
import { send } from "./send.ts";
import { emptySnapshot, type Message, MessageType, None, type Snapshot, StateType } from "./types.ts";

// What a follower does with its leader's MsgApp, MsgHeartbeat and MsgSnap.

export function handleAppendEntries(r: Raft, m: Message): void {
  if (m.index < r.log.committed) {
    send(r, { type: MessageType.MsgAppResp, to: m.from, index: r.log.committed });
    return;
  }
  const slice = { term: m.term, prev: { term: m.logTerm, index: m.index }, entries: m.entries };
  const last = r.log.maybeAppend(slice, m.commit);
  if (last !== undefined) {
    send(r, { type: MessageType.MsgAppResp, to: m.from, index: last });
    return;
  }
  r.logger.debug(
    () =>
      `${hex(r.id)} [logterm: ${r.log.term(m.index) ?? 0}, index: ${m.index}] rejected MsgApp [logterm: ${m.logTerm}, index: ${m.index}] from ${hex(m.from)}`,
  );
  // Hint at the largest index, up to the rejected one, whose term is at most the leader's there: everything above, in
  // particular an uncommitted tail of higher terms, cannot match. See nextProbeIndex in leader-append-resp.ts.
  const hint = r.log.findConflictByTerm(Math.min(m.index, r.log.lastIndex()), m.logTerm);
  send(r, {
    type: MessageType.MsgAppResp,
    to: m.from,
    index: m.index,
    reject: true,
    rejectHint: hint.index,
    logTerm: hint.term,
  });
}

export function handleHeartbeat(r: Raft, m: Message): void {
  r.log.commitTo(m.commit);
  send(r, { type: MessageType.MsgHeartbeatResp, to: m.from, context: m.context });
}

export function handleSnapshot(r: Raft, m: Message): void {
  const snapshot = m.snapshot ?? emptySnapshot;
  const restored = restore(r, snapshot);
  const { index, term } = snapshot.metadata;
  r.logger.info(
    () =>
      `${hex(r.id)} [commit: ${r.log.committed}] ${restored ? "restored" : "ignored"} snapshot [index: ${index}, term: ${term}]`,
  );
  send(r, { type: MessageType.MsgAppResp, to: m.from, index: restored ? r.log.lastIndex() : r.log.committed });
}

/** Replace log and membership by the snapshot's. False if it is of no use. */
function restore(r: Raft, snapshot: Snapshot): boolean {
  const { index, term, confState } = snapshot.metadata;
  if (index <= r.log.committed) return false;
  if (r.state !== StateType.StateFollower) {
    // Cannot happen; if it did, a leader must not go on with a foreign log.
    r.logger.warn(() => `${hex(r.id)} attempted to restore snapshot as leader; should never happen`);
    becomeFollower(r, r.term + 1, None);
    return false;
  }
  const { voters, learners, votersOutgoing } = confState;
  if (![voters, learners, votersOutgoing].some((ids) => ids.includes(r.id))) {
    r.logger.warn(
      () =>
        `${hex(r.id)} attempted to restore snapshot but it is not in the ConfState ${confStateText(confState)}; should never happen`,
    );
    return false;
  }
  const lastOf = () => {
    const last = r.log.lastEntryId();
    return `${hex(r.id)} [commit: ${r.log.committed}, lastindex: ${last.index}, lastterm: ${last.term}]`;
  };
  if (r.log.matchTerm({ term, index })) {
    r.logger.info(() => `${lastOf()} fast-forwarded commit to snapshot [index: ${index}, term: ${term}]`);
    r.log.commitTo(index);
    return false;
  }
  r.log.restore(snapshot);
  restoreConfState(r, confState);
  r.logger.info(() => `${lastOf()} restored snapshot [index: ${index}, term: ${term}]`);
  return true;
}
