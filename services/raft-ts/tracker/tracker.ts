/** Pure: no clock, no I/O, no randomness. */
import { describeJoint, type JointConfig, jointCommittedIndex, jointIds, jointVoteResult } from "../quorum/joint.ts";
import { describeMajority, sortedIds, VoteResult } from "../quorum/majority.ts";
import type { ConfState } from "../types.ts";
import type { Progress } from "./progress.ts";

/**
 * The active configuration.
 * Invariants: learners and voters (either half) are disjoint; learnersNext is a subset of voters.outgoing; unless joint,
 * voters.outgoing and learnersNext are empty and autoLeave is false.
 */
export interface TrackerConfig {
  readonly voters: JointConfig;
  readonly learners: ReadonlySet<bigint>;
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: ReadonlySet<bigint>;
  /** Raft leaves the joint configuration by itself. */
  readonly autoLeave: boolean;
}

export type ProgressMap = ReadonlyMap<bigint, Progress>;

const nobody: ReadonlySet<bigint> = new Set();
export const emptyTrackerConfig: TrackerConfig = {
  voters: { incoming: nobody, outgoing: nobody },
  learners: nobody,
  learnersNext: nobody,
  autoLeave: false,
};

/** `voters=(1 2)&&(1) learners=(3) learners_next=(2) autoleave`, parts that are empty left out. */
export function describeTrackerConfig(config: TrackerConfig): string {
  let out = `voters=${describeJoint(config.voters)}`;
  if (config.learners.size > 0) out += ` learners=${describeMajority(config.learners)}`;
  if (config.learnersNext.size > 0) out += ` learners_next=${describeMajority(config.learnersNext)}`;
  if (config.autoLeave) out += " autoleave";
  return out;
}

/** One line a peer, ascending. */
export function describeProgressMap(progress: ProgressMap): string {
  let out = "";
  for (const id of sortedIds(progress.keys())) out += `${id}: ${progress.get(id)}\n`;
  return out;
}

/** The configuration and what is known of each member. */
export class ProgressTracker {
  readonly inflightMsgsMax: number;
  readonly inflightBytesMax: number;
  /** Changed by `switchTo` only. */
  config: TrackerConfig = emptyTrackerConfig;
  progress: ProgressMap = new Map();
  /** `progress` in ascending order of id. */
  ordered: readonly (readonly [bigint, Progress])[] = [];
  /** Votes of the running election. */
  readonly votes = new Map<bigint, boolean>();

  readonly #match = (id: bigint): number | undefined => this.progress.get(id)?.match;

  constructor(inflightMsgsMax: number, inflightBytesMax: number) {
    this.inflightMsgsMax = inflightMsgsMax;
    this.inflightBytesMax = inflightBytesMax;
  }

  switchTo(config: TrackerConfig, progress: ProgressMap): void {
    this.config = config;
    this.progress = progress;
    this.ordered = sortedIds(progress.keys()).map((id) => [id, progress.get(id)!] as const);
  }

  confState(): ConfState {
    const { voters, learners, learnersNext, autoLeave } = this.config;
    return {
      voters: sortedIds(voters.incoming),
      votersOutgoing: sortedIds(voters.outgoing),
      learners: sortedIds(learners),
      learnersNext: sortedIds(learnersNext),
      autoLeave,
    };
  }

  /** One voter only, and not joint. */
  isSingleton(): boolean {
    return this.config.voters.incoming.size === 1 && this.config.voters.outgoing.size === 0;
  }

  /** Largest index that the voters' quorum has. */
  committed(): number {
    return jointCommittedIndex(this.config.voters, this.#match);
  }

  /** Was a quorum heard of lately? */
  quorumActive(): boolean {
    const active = new Map<bigint, boolean>();
    for (const [id, pr] of this.ordered) if (!pr.isLearner) active.set(id, pr.recentActive);
    return jointVoteResult(this.config.voters, active) === VoteResult.VoteWon;
  }

  /** Voters of either half, ascending. */
  voterNodes(): bigint[] {
    return sortedIds(jointIds(this.config.voters));
  }

  isVoter(id: bigint): boolean {
    return this.config.voters.incoming.has(id) || this.config.voters.outgoing.has(id);
  }

  resetVotes(): void {
    this.votes.clear();
  }

  /** The first vote of a node counts. */
  recordVote(id: bigint, granted: boolean): void {
    if (!this.votes.has(id)) this.votes.set(id, granted);
  }

  tallyVotes(): { readonly granted: number; readonly rejected: number; readonly result: VoteResult } {
    let granted = 0;
    let rejected = 0;
    for (const [id, pr] of this.ordered) {
      if (pr.isLearner) continue;
      const vote = this.votes.get(id);
      if (vote === true) granted++;
      else if (vote === false) rejected++;
    }
    return { granted, rejected, result: jointVoteResult(this.config.voters, this.votes) };
  }
}
