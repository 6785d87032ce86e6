/** Pure: no clock, no I/O, no randomness. */
import { appliedSnapshot, appliedTo } from "./applied.ts";
import { stepCandidate } from "./candidate.ts";
import { handleVoteRequest, hup, ignoredByLease, rejectOldPreVote } from "./election.ts";
import type { RaftError } from "./errors.ts";
import { stepFollower } from "./follower.ts";
import { stepLeader } from "./leader.ts";
import { hex, messageTypeName } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { reduceUncommittedSize } from "./replicate.ts";
import { becomeFollower } from "./roles.ts";
import { send } from "./send.ts";
import { type Message, MessageType, None, newMessage, StateType } from "./types.ts";
import { entriesSize, payloadsSize } from "./wire.ts";

const M = MessageType;

/** Handle one message: first its term (local ones have none), then its content. */
export function step(r: Raft, m: Message): RaftError | undefined {
  if (m.term > r.term) {
    if (!acceptHigherTerm(r, m)) return undefined;
  } else if (m.term !== 0 && m.term < r.term) {
    handleLowerTerm(r, m);
    return undefined;
  }
  switch (m.type) {
    case M.MsgHup:
      hup(r, r.config.preVote ? "preElection" : "election");
      return undefined;
    case M.MsgStorageAppendResp:
      if (m.index !== 0) r.log.unstable.stableTo({ term: m.logTerm, index: m.index });
      if (m.snapshot !== undefined) appliedSnapshot(r, m.snapshot);
      return undefined;
    case M.MsgStorageApplyResp: {
      const last = m.entries.at(-1);
      if (last === undefined) return undefined;
      appliedTo(r, last.index, entriesSize(m.entries));
      reduceUncommittedSize(r, payloadsSize(m.entries));
      return undefined;
    }
    case M.MsgVote:
    case M.MsgPreVote:
      handleVoteRequest(r, m);
      return undefined;
    default:
      return stepRole(r, m);
  }
}

function stepRole(r: Raft, m: Message): RaftError | undefined {
  switch (r.state) {
    case StateType.StateLeader:
      return stepLeader(r, m);
    case StateType.StateFollower:
      return stepFollower(r, m);
    case StateType.StateCandidate:
    case StateType.StatePreCandidate:
      return stepCandidate(r, m);
  }
}

/** A message of a later term, which usually ends the own one. False: not to be handled at all. */
function acceptHigherTerm(r: Raft, m: Message): boolean {
  if ((m.type === M.MsgVote || m.type === M.MsgPreVote) && ignoredByLease(r, m)) return false;
  // A pre-vote and the consent to one are about a term that may never come.
  if (m.type === M.MsgPreVote || (m.type === M.MsgPreVoteResp && !m.reject)) return true;
  r.logger.info(
    () =>
      `${hex(r.id)} [term: ${r.term}] received a ${messageTypeName(m.type)} message with higher term from ${hex(m.from)} [term: ${m.term}]`,
  );
  const fromLeader = m.type === M.MsgApp || m.type === M.MsgHeartbeat || m.type === M.MsgSnap;
  becomeFollower(r, m.term, fromLeader ? m.from : None);
  return true;
}

/** A message of an earlier term. It counts for nothing, but some senders must hear about the later one. */
function handleLowerTerm(r: Raft, m: Message): void {
  if ((r.config.checkQuorum || r.config.preVote) && (m.type === M.MsgHeartbeat || m.type === M.MsgApp)) {
    // A leader that was cut off, or this node was and raised its term meanwhile. With checkQuorum or preVote no MsgVote
    // would get through to settle it: this answer, which carries the higher term, makes that leader step down.
    send(r, { type: M.MsgAppResp, to: m.from });
  } else if (m.type === M.MsgPreVote) {
    rejectOldPreVote(r, m);
  } else if (m.type === M.MsgStorageAppendResp) {
    if (m.index !== 0) {
      // The entries may have been overwritten in the unstable log since: see storageAppendResp in storage-messages.ts.
      r.logger.info(
        () =>
          `${hex(r.id)} [term: ${r.term}] ignored entry appends from a ${messageTypeName(m.type)} message with lower term [term: ${m.term}]`,
      );
    }
    // A snapshot is committed state, whatever the term.
    if (m.snapshot !== undefined) appliedSnapshot(r, m.snapshot);
  } else {
    r.logger.info(
      () =>
        `${hex(r.id)} [term: ${r.term}] ignored a ${messageTypeName(m.type)} message with lower term from ${hex(m.from)} [term: ${m.term}]`,
    );
  }
}

/** The logical clock moves on by one. */
export function tick(r: Raft): void {
  if (r.state === StateType.StateLeader) tickHeartbeat(r);
  else tickElection(r);
}

/**
 * How many more ticks it takes until one does something: a heartbeat, a check of the quorum or an election; at least 1,
 * Infinity for who neither leads nor may be elected. A host may count the ticks before that late, all at once.
 */
export function ticksToWork(r: Raft): number {
  const { electionTick, heartbeatTick } = r.config;
  const left =
    r.state === StateType.StateLeader
      ? Math.min(heartbeatTick - r.heartbeatElapsed, electionTick - r.electionElapsed)
      : r.promotable()
        ? r.randomizedElectionTimeout - r.electionElapsed
        : Number.POSITIVE_INFINITY;
  return Math.max(1, left);
}

function tickElection(r: Raft): void {
  r.electionElapsed++;
  if (!r.promotable() || !r.pastElectionTimeout()) return;
  r.electionElapsed = 0;
  step(r, newMessage({ type: M.MsgHup, from: r.id }));
}

function tickHeartbeat(r: Raft): void {
  r.heartbeatElapsed++;
  r.electionElapsed++;
  if (r.electionElapsed >= r.config.electionTick) {
    r.electionElapsed = 0;
    if (r.config.checkQuorum) step(r, newMessage({ type: M.MsgCheckQuorum, from: r.id }));
    // A transfer that took longer than an election timeout is given up.
    if (r.state === StateType.StateLeader) r.leadTransferee = None;
  }
  if (r.state !== StateType.StateLeader || r.heartbeatElapsed < r.config.heartbeatTick) return;
  r.heartbeatElapsed = 0;
  step(r, newMessage({ type: M.MsgBeat, from: r.id }));
}
