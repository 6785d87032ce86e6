import type { Logger } from "@starling/base";
import type { ConfState, RawNode } from "raft-ts";
import type { MembershipChanges } from "./handlers.ts";

export interface PromotionOptions {
  readonly log: Logger;
  readonly leading: () => boolean;
  readonly confState: () => ConfState;
  readonly reachable: (raftId: bigint) => boolean;
  readonly changes: MembershipChanges;
}

/** Entries that a learner may lack when it gets its vote. */
const lagMax = 500;

/** A leader gives learners their vote when they answer and have nearly the whole log, one at a time. */
export class LearnerPromotion {
  readonly #options: PromotionOptions;
  #underWay = false;

  constructor(options: PromotionOptions) {
    this.#options = options;
  }

  /** With each tick. */
  maybePromote(raw: RawNode, lastIndex: number): void {
    const { log, leading, confState, reachable, changes } = this.#options;
    if (this.#underWay || !leading() || confState().learners.length === 0) return;
    const { progress } = raw.status();
    const least = lastIndex - lagMax;
    const ready = [...progress].find(([id, pr]) => pr.isLearner && pr.match > 0 && pr.match >= least && reachable(id));
    if (ready === undefined) return;
    this.#underWay = true;
    changes
      .maybePromote(ready[0])
      .catch((error: unknown) => log.warn("raft: learner not promoted, will try again", { error }))
      .finally(() => {
        this.#underWay = false;
      });
  }
}
