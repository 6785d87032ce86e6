/** Pure: no clock, no I/O, no randomness. */
import type { RaftError } from "./errors.ts";
import { handleAppendResponse } from "./leader-append-resp.ts";
import { handleProposal } from "./leader-proposal.ts";
import { handleReadIndex, releaseConfirmedReads } from "./leader-read.ts";
import { handleTransferLeader } from "./leader-transfer.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { bcastHeartbeat, sendAppend } from "./replicate.ts";
import { becomeFollower } from "./roles.ts";
import { type Progress, ProgressState } from "./tracker/progress.ts";
import { type Message, MessageType, None } from "./types.ts";

/** Messages of the own term to a leader. */
export function stepLeader(r: Raft, m: Message): RaftError | undefined {
  switch (m.type) {
    case MessageType.MsgBeat:
      bcastHeartbeat(r);
      return undefined;
    case MessageType.MsgCheckQuorum:
      checkQuorum(r);
      return undefined;
    case MessageType.MsgProp:
      return handleProposal(r, m);
    case MessageType.MsgReadIndex:
      handleReadIndex(r, m);
      return undefined;
    case MessageType.MsgForgetLeader:
      return undefined;
    default:
      break;
  }
  // All others are about a member.
  const pr = r.tracker.progress.get(m.from);
  if (pr === undefined) {
    r.logger.debug(() => `${hex(r.id)} no progress available for ${hex(m.from)}`);
    return undefined;
  }
  switch (m.type) {
    case MessageType.MsgAppResp:
      handleAppendResponse(r, m, pr);
      return undefined;
    case MessageType.MsgHeartbeatResp:
      handleHeartbeatResponse(r, m, pr);
      return undefined;
    case MessageType.MsgSnapStatus:
      handleSnapshotStatus(r, m, pr);
      return undefined;
    case MessageType.MsgUnreachable:
      // In optimistic replication a MsgApp was probably lost.
      if (pr.state === ProgressState.StateReplicate) pr.becomeProbe();
      r.logger.debug(() => `${hex(r.id)} failed to send message to ${hex(m.from)} because it is unreachable [${pr}]`);
      return undefined;
    case MessageType.MsgTransferLeader:
      handleTransferLeader(r, m, pr);
      return undefined;
    default:
      return undefined;
  }
}

function checkQuorum(r: Raft): void {
  if (!r.tracker.quorumActive()) {
    r.logger.warn(() => `${hex(r.id)} stepped down to follower since quorum is not active`);
    becomeFollower(r, r.term, None);
  }
  // Who is still there must say so before the next check.
  for (const [id, pr] of r.tracker.ordered) if (id !== r.id) pr.recentActive = false;
}

function handleHeartbeatResponse(r: Raft, m: Message, pr: Progress): void {
  pr.recentActive = true;
  pr.msgAppFlowPaused = false;
  // A peer that lags, or is probed (after reportUnreachable, even if it has everything), gets a MsgApp: its answer
  // frees the window or brings it back to StateReplicate. Nothing is sent in StateSnapshot.
  if (pr.match < r.log.lastIndex() || pr.state === ProgressState.StateProbe) sendAppend(r, m.from);
  releaseConfirmedReads(r, m);
}

function handleSnapshotStatus(r: Raft, m: Message, pr: Progress): void {
  if (pr.state !== ProgressState.StateSnapshot) return;
  // A snapshot that failed must not be taken for the base of the next probe.
  if (m.reject) pr.pendingSnapshot = 0;
  pr.becomeProbe();
  r.logger.debug(
    () =>
      `${hex(r.id)} snapshot ${m.reject ? "failed" : "succeeded"}, resumed sending replication messages to ${hex(m.from)} [${pr}]`,
  );
  // Next MsgApp after the peer's MsgAppResp, or, if the snapshot failed, after a heartbeat interval.
  pr.msgAppFlowPaused = true;
}
