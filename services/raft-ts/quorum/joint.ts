/** Pure: no clock, no I/O, no randomness. */
import {
  type AckedIndexer,
  describeMajority,
  describeMajorityProgress,
  type MajorityConfig,
  majorityCommittedIndex,
  majorityVoteResult,
  VoteResult,
} from "./majority.ts";

/** Two majorities that must both agree (Raft thesis §4.3). `outgoing` is empty unless a change is under way. */
export interface JointConfig {
  readonly incoming: MajorityConfig;
  readonly outgoing: MajorityConfig;
}

/** Everyone who votes in either half. */
export function jointIds(config: JointConfig): Set<bigint> {
  const ids = new Set(config.incoming);
  for (const id of config.outgoing) ids.add(id);
  return ids;
}

/** Committed in both halves. Infinity if both are empty. */
export function jointCommittedIndex(config: JointConfig, acked: AckedIndexer): number {
  const incoming = majorityCommittedIndex(config.incoming, acked);
  if (config.outgoing.size === 0) return incoming;
  return Math.min(incoming, majorityCommittedIndex(config.outgoing, acked));
}

/** Won by both, else lost by either, else pending. */
export function jointVoteResult(config: JointConfig, votes: ReadonlyMap<bigint, boolean>): VoteResult {
  const incoming = majorityVoteResult(config.incoming, votes);
  const outgoing = majorityVoteResult(config.outgoing, votes);
  if (incoming === outgoing) return incoming;
  if (incoming === VoteResult.VoteLost || outgoing === VoteResult.VoteLost) return VoteResult.VoteLost;
  return VoteResult.VotePending;
}

/** `(1 2)&&(2 3)`, the second half only when there is one. */
export function describeJoint(config: JointConfig): string {
  const incoming = describeMajority(config.incoming);
  return config.outgoing.size > 0 ? `${incoming}&&${describeMajority(config.outgoing)}` : incoming;
}

export function describeJointProgress(config: JointConfig, acked: AckedIndexer): string {
  return describeMajorityProgress(jointIds(config), acked);
}
