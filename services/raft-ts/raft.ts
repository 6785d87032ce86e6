/** Pure: no clock, no I/O, no randomness. */
import type { CheckedConfig } from "./config.ts";
import { RaftLog } from "./log.ts";
import type { Logger } from "./logger.ts";
import { ReadOnly } from "./read-only.ts";
import { ProgressTracker } from "./tracker/tracker.ts";
import { type HardState, type Message, None, type ReadState, type SoftState, StateType } from "./types.ts";

/**
 * The state of one node. What happens to it lies in the files beside, one per role and message family; they import each
 * other in this order only:
 * send < replicate < roles < membership < receive < election < {follower, candidate, leader*} < applied < step.
 */
export class Raft {
  readonly id: bigint;
  /** Replaced as a whole by `RawNode.setTicks`. */
  config: CheckedConfig;
  readonly logger: Logger;
  readonly log: RaftLog;
  /** Configuration and progress of all members; changed by membership.ts. */
  readonly tracker: ProgressTracker;

  term = 0;
  vote = None;
  state: StateType = StateType.StateFollower;
  lead = None;
  /** This node is a learner in its own configuration. */
  isLearner = false;

  /** To be sent at once. Never to this node itself. */
  msgs: Message[] = [];
  /**
   * To be sent, or stepped if to this node itself, when everything unstable so far (term, vote, entries, snapshot) is
   * durable, including what is being written already. MsgAppResp, MsgVoteResp and MsgPreVoteResp.
   */
  msgsAfterAppend: Message[] = [];
  readStates: ReadState[] = [];
  readOnly: ReadOnly;
  /** Leader: reads that came before anything was committed in this term. */
  pendingReadIndexMessages: Message[] = [];

  /** Leader: target of a transfer under way (Raft thesis §3.10). */
  leadTransferee = None;
  /** Leader: no conf change may be proposed before this index is applied. */
  pendingConfIndex = 0;
  /** Leader: payload bytes of its uncommitted tail; an estimate that never exceeds the truth. */
  uncommittedSize = 0;

  /** Ticks since the last election timeout (leader, candidate) or valid word of the leader (follower). */
  electionElapsed = 0;
  /** Leader: ticks since the last heartbeat. */
  heartbeatElapsed = 0;
  /** In [electionTick, 2*electionTick-1]; drawn anew on every change of role or term. */
  randomizedElectionTimeout = 0;

  constructor(config: CheckedConfig) {
    this.id = config.id;
    this.config = config;
    this.logger = config.logger;
    this.log = new RaftLog(config.storage, config.logger, config.maxCommittedSizePerReady);
    this.tracker = new ProgressTracker(config.maxInflightMsgs, config.maxInflightBytes);
    this.readOnly = new ReadOnly(config.readOnlyOption);
  }

  softState(): SoftState {
    return { lead: this.lead, raftState: this.state };
  }

  hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  /** May this node lead: is it a voter with a complete log? */
  promotable(): boolean {
    const pr = this.tracker.progress.get(this.id);
    return pr !== undefined && !pr.isLearner && this.log.unstable.snapshot === undefined;
  }

  pastElectionTimeout(): boolean {
    return this.electionElapsed >= this.randomizedElectionTimeout;
  }

  resetRandomizedElectionTimeout(): void {
    const { electionTick, random } = this.config;
    this.randomizedElectionTimeout = electionTick + Math.floor(random() * electionTick);
  }

  committedEntryInCurrentTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }
}
