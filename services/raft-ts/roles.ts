/** Pure: no clock, no I/O, no randomness. */
import { panic } from "./logger.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { ReadOnly } from "./read-only.ts";
import { appendEntries } from "./replicate.ts";
import { Inflights } from "./tracker/inflights.ts";
import { Progress } from "./tracker/progress.ts";
import { EntryType, None, noData, StateType } from "./types.ts";

// The moves between roles. follower -> {pre-candidate, candidate}, pre-candidate -> candidate, {pre-candidate,
// candidate} -> leader, and from everywhere back to follower; others are mistakes.

export function becomeFollower(r: Raft, term: number, lead: bigint): void {
  reset(r, term);
  r.lead = lead;
  r.state = StateType.StateFollower;
  r.logger.info(() => `${hex(r.id)} became follower at term ${r.term}`);
}

export function becomeCandidate(r: Raft): void {
  if (r.state === StateType.StateLeader) panic(r.logger, () => "invalid transition [leader -> candidate]");
  reset(r, r.term + 1);
  r.vote = r.id;
  r.state = StateType.StateCandidate;
  r.logger.info(() => `${hex(r.id)} became candidate at term ${r.term}`);
}

/** Ask around before disturbing anyone: term and vote stay as they are (Raft thesis §9.6). */
export function becomePreCandidate(r: Raft): void {
  if (r.state === StateType.StateLeader) panic(r.logger, () => "invalid transition [leader -> pre-candidate]");
  r.tracker.resetVotes();
  r.lead = None;
  r.state = StateType.StatePreCandidate;
  r.logger.info(() => `${hex(r.id)} became pre-candidate at term ${r.term}`);
}

export function becomeLeader(r: Raft): void {
  if (r.state === StateType.StateFollower) panic(r.logger, () => "invalid transition [follower -> leader]");
  reset(r, r.term);
  r.lead = r.id;
  r.state = StateType.StateLeader;
  const own = r.tracker.progress.get(r.id)!;
  own.becomeReplicate();
  own.recentActive = true;
  // There may be a conf change anywhere in the tail: wait until all of it is applied rather than scan it.
  r.pendingConfIndex = r.log.lastIndex();
  // An entry of its own term lets the leader commit what came before (Raft paper §8).
  if (!appendEntries(r, [{ term: 0, index: 0, type: EntryType.EntryNormal, data: noData }])) {
    panic(r.logger, () => `empty entry was dropped with ${r.uncommittedSize} bytes uncommitted`);
  }
  r.logger.info(() => `${hex(r.id)} became leader at term ${r.term}`);
}

/** A clean slate for a new role. The vote is kept within a term. */
function reset(r: Raft, term: number): void {
  if (r.term !== term) {
    r.term = term;
    r.vote = None;
  }
  r.lead = None;
  r.electionElapsed = 0;
  r.heartbeatElapsed = 0;
  r.resetRandomizedElectionTimeout();
  r.leadTransferee = None;

  const { tracker } = r;
  tracker.resetVotes();
  const last = r.log.lastIndex();
  const progress = new Map<bigint, Progress>();
  for (const [id, { isLearner }] of tracker.ordered) {
    const inflights = new Inflights(tracker.inflightMsgsMax, tracker.inflightBytesMax);
    const match = id === r.id ? last : 0;
    progress.set(id, new Progress({ match, next: last + 1, inflights, isLearner, recentActive: false }));
  }
  tracker.switchTo(tracker.config, progress);

  r.pendingConfIndex = 0;
  r.uncommittedSize = 0;
  r.readOnly = new ReadOnly(r.readOnly.option);
}
