/** Pure: no clock, no I/O, no randomness. */
import { RaftError } from "../errors.ts";
import type { MajorityConfig } from "../quorum/majority.ts";
import { Inflights } from "../tracker/inflights.ts";
import { Progress } from "../tracker/progress.ts";
import type { ProgressMap, TrackerConfig } from "../tracker/tracker.ts";
import { type ConfChangeSingle, ConfChangeType } from "../types.ts";

/** A configuration and the progress of everyone in it. */
export interface Membership {
  readonly config: TrackerConfig;
  readonly progress: ProgressMap;
}

export interface ChangerOptions {
  readonly inflightMsgsMax: number;
  readonly inflightBytesMax: number;
  /** End of the log: where probing of new peers starts. */
  readonly lastIndex: number;
}

/** A copy of a Membership that is being changed. */
interface Draft {
  readonly incoming: Set<bigint>;
  outgoing: Set<bigint>;
  readonly learners: Set<bigint>;
  learnersNext: Set<bigint>;
  autoLeave: boolean;
  readonly progress: Map<bigint, Progress>;
}

/**
 * Plans changes of the membership (Raft thesis §4). Every operation takes the present one, checks it, and returns the
 * next one, sharing nothing that could be changed.
 * All of them throw RaftError if the change is not allowed.
 */
export class Changer {
  readonly #options: ChangerOptions;

  constructor(options: ChangerOptions) {
    this.#options = options;
  }

  /** Changes that alter at most one voter in all, without joint consensus. */
  simple(from: Membership, changes: readonly ConfChangeSingle[]): Membership {
    const draft = checkAndCopy(from);
    if (draft.outgoing.size > 0) throw new RaftError("can't apply simple config change in joint config");
    this.#apply(draft, changes);
    if (symmetricDifference(from.config.voters.incoming, draft.incoming) > 1) {
      throw new RaftError("more than one voter changed without entering joint config");
    }
    return finish(draft);
  }

  /** From (1 2 3)&&() to (changed)&&(1 2 3), thesis §4.3: C_new,old. */
  enterJoint(from: Membership, changes: readonly ConfChangeSingle[], autoLeave: boolean): Membership {
    const draft = checkAndCopy(from);
    if (draft.outgoing.size > 0) throw new RaftError("config is already joint");
    if (draft.incoming.size === 0) throw new RaftError("can't make a zero-voter config joint");
    draft.outgoing = new Set(draft.incoming);
    this.#apply(draft, changes);
    draft.autoLeave = autoLeave;
    return finish(draft);
  }

  /** From C_new,old to C_new. Voters that were to become learners do so now. */
  leaveJoint(from: Membership): Membership {
    const draft = checkAndCopy(from);
    if (draft.outgoing.size === 0) throw new RaftError("can't leave a non-joint config");
    for (const id of draft.learnersNext) {
      draft.learners.add(id);
      draft.progress.get(id)!.isLearner = true;
    }
    draft.learnersNext = new Set();
    for (const id of draft.outgoing) {
      if (!draft.incoming.has(id) && !draft.learners.has(id)) draft.progress.delete(id);
    }
    draft.outgoing = new Set();
    draft.autoLeave = false;
    return finish(draft);
  }

  #apply(draft: Draft, changes: readonly ConfChangeSingle[]): void {
    for (const { type, nodeId } of changes) {
      // Id 0: the application decided to ignore this change.
      if (nodeId === 0n) continue;
      switch (type) {
        case ConfChangeType.ConfChangeAddNode:
          this.#makeVoter(draft, nodeId);
          break;
        case ConfChangeType.ConfChangeAddLearnerNode:
          this.#makeLearner(draft, nodeId);
          break;
        case ConfChangeType.ConfChangeRemoveNode:
          remove(draft, nodeId);
          break;
        case ConfChangeType.ConfChangeUpdateNode:
          break;
        default:
          throw new RaftError(`unexpected conf type ${String(type)}`);
      }
    }
    if (draft.incoming.size === 0) throw new RaftError("removed all voters");
  }

  #makeVoter(draft: Draft, id: bigint): void {
    const pr = draft.progress.get(id) ?? this.#initProgress(draft, id);
    pr.isLearner = false;
    draft.learners.delete(id);
    draft.learnersNext.delete(id);
    draft.incoming.add(id);
  }

  /**
   * A voter of the outgoing half cannot be a learner at the same time; it is noted in learnersNext and becomes one when
   * the joint configuration is left.
   */
  #makeLearner(draft: Draft, id: bigint): void {
    const known = draft.progress.get(id);
    if (known?.isLearner) return;
    const pr = known ?? this.#initProgress(draft, id);
    remove(draft, id);
    draft.progress.set(id, pr);
    if (draft.outgoing.has(id)) {
      draft.learnersNext.add(id);
    } else {
      pr.isLearner = true;
      draft.learners.add(id);
    }
  }

  #initProgress(draft: Draft, id: bigint): Progress {
    const { lastIndex, inflightMsgsMax, inflightBytesMax } = this.#options;
    const pr = new Progress({
      match: 0,
      next: Math.max(lastIndex, 1),
      inflights: new Inflights(inflightMsgsMax, inflightBytesMax),
      isLearner: false,
      // Else a quorum check could come before the new peer's first word, and depose the leader.
      recentActive: true,
    });
    draft.progress.set(id, pr);
    return pr;
  }
}

/** Take `id` out of the incoming half; a voter of the outgoing half keeps its progress. */
function remove(draft: Draft, id: bigint): void {
  if (!draft.progress.has(id)) return;
  draft.incoming.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  if (!draft.outgoing.has(id)) draft.progress.delete(id);
}

function checkAndCopy({ config, progress }: Membership): Draft {
  checkInvariants({ config, progress });
  const copies = new Map<bigint, Progress>();
  // The window may be shared: changes touch isLearner only.
  for (const [id, pr] of progress) copies.set(id, pr.clone());
  return {
    incoming: new Set(config.voters.incoming),
    outgoing: new Set(config.voters.outgoing),
    learners: new Set(config.learners),
    learnersNext: new Set(config.learnersNext),
    autoLeave: config.autoLeave,
    progress: copies,
  };
}

function finish(draft: Draft): Membership {
  const next: Membership = {
    config: {
      voters: { incoming: draft.incoming, outgoing: draft.outgoing },
      learners: draft.learners,
      learnersNext: draft.learnersNext,
      autoLeave: draft.autoLeave,
    },
    progress: draft.progress,
  };
  checkInvariants(next);
  return next;
}

/** Those of TrackerConfig, and: everyone in it has a progress that agrees. An empty configuration is fine. */
function checkInvariants({ config, progress }: Membership): void {
  const { voters, learners, learnersNext } = config;
  for (const ids of [voters.incoming, voters.outgoing, learners, learnersNext]) {
    for (const id of ids) if (!progress.has(id)) throw new RaftError(`no progress for ${id}`);
  }
  for (const id of learnersNext) {
    if (!voters.outgoing.has(id)) throw new RaftError(`${id} is in LearnersNext, but not Voters[1]`);
    if (progress.get(id)!.isLearner) throw new RaftError(`${id} is in LearnersNext, but is already marked as learner`);
  }
  for (const id of learners) {
    if (voters.outgoing.has(id)) throw new RaftError(`${id} is in Learners and Voters[1]`);
    if (voters.incoming.has(id)) throw new RaftError(`${id} is in Learners and Voters[0]`);
    if (!progress.get(id)!.isLearner) throw new RaftError(`${id} is in Learners, but is not marked as learner`);
  }
  if (voters.outgoing.size === 0) {
    if (learnersNext.size > 0) throw new RaftError("cfg.LearnersNext must be nil when not joint");
    if (config.autoLeave) throw new RaftError("AutoLeave must be false when not joint");
  }
}

function symmetricDifference(a: MajorityConfig, b: MajorityConfig): number {
  let n = 0;
  for (const id of a) if (!b.has(id)) n++;
  for (const id of b) if (!a.has(id)) n++;
  return n;
}
