/** Pure: no clock, no I/O, no randomness. */
import { campaign, poll } from "./election.ts";
import { ErrProposalDropped, type RaftError } from "./errors.ts";
import { hex, messageTypeName, stateTypeName } from "./message-kinds.ts";
import { VoteResult } from "./quorum/majority.ts";
import type { Raft } from "./raft.ts";
import { handleAppendEntries, handleHeartbeat, handleSnapshot } from "./receive.ts";
import { bcastAppend } from "./replicate.ts";
import { becomeFollower, becomeLeader } from "./roles.ts";
import { type Message, MessageType, None, StateType } from "./types.ts";

/** Messages of the own term to a candidate or pre-candidate. */
export function stepCandidate(r: Raft, m: Message): RaftError | undefined {
  switch (m.type) {
    case MessageType.MsgProp:
      r.logger.info(() => `${hex(r.id)} no leader at term ${r.term}; dropping proposal`);
      return ErrProposalDropped;
    case MessageType.MsgApp:
      becomeFollower(r, m.term, m.from);
      handleAppendEntries(r, m);
      return undefined;
    case MessageType.MsgHeartbeat:
      becomeFollower(r, m.term, m.from);
      handleHeartbeat(r, m);
      return undefined;
    case MessageType.MsgSnap:
      becomeFollower(r, m.term, m.from);
      handleSnapshot(r, m);
      return undefined;
    case MessageType.MsgPreVoteResp:
      // A candidate may still get answers to its pre-campaign; they are of no use any more. And the other way round.
      if (r.state === StateType.StatePreCandidate) handleVoteResponse(r, m);
      return undefined;
    case MessageType.MsgVoteResp:
      if (r.state === StateType.StateCandidate) handleVoteResponse(r, m);
      return undefined;
    case MessageType.MsgTimeoutNow:
      r.logger.debug(
        () => `${hex(r.id)} [term ${r.term} state ${stateTypeName(r.state)}] ignored MsgTimeoutNow from ${hex(m.from)}`,
      );
      return undefined;
    default:
      return undefined;
  }
}

function handleVoteResponse(r: Raft, m: Message): void {
  const { granted, rejected, result } = poll(r, m);
  r.logger.info(
    () => `${hex(r.id)} has received ${granted} ${messageTypeName(m.type)} votes and ${rejected} vote rejections`,
  );
  switch (result) {
    case VoteResult.VoteWon:
      if (r.state === StateType.StatePreCandidate) {
        campaign(r, "election");
      } else {
        becomeLeader(r);
        bcastAppend(r);
      }
      return;
    case VoteResult.VoteLost:
      // A pre-vote response carries a future term; stay in the own one.
      becomeFollower(r, r.term, None);
      return;
    case VoteResult.VotePending:
      return;
  }
}
