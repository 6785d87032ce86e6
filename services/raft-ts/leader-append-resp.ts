/** Pure: no clock, no I/O, no randomness. */
import { releasePendingReadIndexMessages } from "./leader-read.ts";
import { sendTimeoutNow } from "./leader-transfer.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { bcastAppend, maybeCommit, maybeSendAppend, sendAppend } from "./replicate.ts";
import { type Progress, ProgressState } from "./tracker/progress.ts";
import type { Message } from "./types.ts";

/** MsgAppResp at the leader; also its own, when its entries are durable. */
export function handleAppendResponse(r: Raft, m: Message, pr: Progress): void {
  pr.recentActive = true;
  if (m.reject) handleRejection(r, m, pr);
  else handleAck(r, m, pr);
}

function handleRejection(r: Raft, m: Message, pr: Progress): void {
  r.logger.debug(
    () =>
      `${hex(r.id)} received MsgAppResp(rejected, hint: (index ${m.rejectHint}, term ${m.logTerm})) from ${hex(m.from)} for index ${m.index}`,
  );
  if (!pr.maybeDecrTo(m.index, nextProbeIndex(r, m))) return;
  r.logger.debug(() => `${hex(r.id)} decreased progress of ${hex(m.from)} to [${pr}]`);
  if (pr.state === ProgressState.StateReplicate) pr.becomeProbe();
  sendAppend(r, m.from);
}

/**
 * Where the logs may match at best. The hint (index, term) says that the peer has nothing above `term` up to there; so
 * wherever the leader's own term is higher, a probe must fail. Example: the leader has terms 1 3 3 3 5 5 5 5 5, the peer
 * 1 1 1 1 2 2; it hints at (6, 2), and the next probe is at 1 instead of 6, 5, 4, 3, 2. With the same reckoning on the
 * peer's side (handleAppendEntries) there is at most one probe per term of the shorter history.
 */
function nextProbeIndex(r: Raft, m: Message): number {
  // Term 0: an empty log, or a version that doesn't send it.
  return m.logTerm > 0 ? r.log.findConflictByTerm(m.rejectHint, m.logTerm).index : m.rejectHint;
}

function handleAck(r: Raft, m: Message, pr: Progress): void {
  const wasProbedThere = pr.match === m.index && pr.state === ProgressState.StateProbe;
  if (!pr.maybeUpdate(m.index) && !wasProbedThere) return;

  if (pr.state === ProgressState.StateProbe) {
    pr.becomeReplicate();
  } else if (pr.state === ProgressState.StateReplicate) {
    pr.inflights.freeLE(m.index);
  } else if (pr.match + 1 >= r.log.firstIndex()) {
    // Whatever snapshot it applied, ours or one from elsewhere: the log can serve it again.
    r.logger.debug(
      () =>
        `${hex(r.id)} recovered from needing snapshot, resumed sending replication messages to ${hex(m.from)} [${pr}]`,
    );
    pr.becomeProbe();
    pr.becomeReplicate();
  }

  if (maybeCommit(r)) {
    releasePendingReadIndexMessages(r);
    bcastAppend(r);
  } else if (m.from !== r.id && pr.canBumpCommit(r.log.committed)) {
    // The next heartbeat would tell it, too, but later.
    sendAppend(r, m.from);
  }
  if (m.from === r.id) return;
  // The window has room again: send as many messages as it takes.
  while (maybeSendAppend(r, m.from, false));
  if (m.from === r.leadTransferee && pr.match === r.log.lastIndex()) {
    r.logger.info(() => `${hex(r.id)} sent MsgTimeoutNow to ${hex(m.from)} after received MsgAppResp`);
    sendTimeoutNow(r, m.from);
  }
}
