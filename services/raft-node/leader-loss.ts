import type { Clock, Random } from "@starling/base";

export interface LeaderLossOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly self: () => bigint;
  readonly members: () => readonly bigint[];
  /** The leader's raft id, 0 without one; own id while this node leads. */
  readonly leader: () => bigint;
  readonly forgetLeader: () => void;
  readonly campaign: () => void;
}

const staggerMs = 100;
const jitterMs = 40;

/**
 * Notices at once when the leader's process ends: its stream breaks long before the election timeout. Every follower then
 * forgets the leader, so that it grants a pre-vote, and they ask one after the other, by raft id, to not split the vote. A
 * leader that only reconnects is followed again with its next heartbeat; a pre-vote raises no term and disturbs nobody.
 */
export class LeaderLoss {
  readonly #options: LeaderLossOptions;
  /** Open streams by the peer that sends. */
  readonly #streams = new Map<bigint, number>();

  constructor(options: LeaderLossOptions) {
    this.#options = options;
  }

  streamOpened(from: bigint): void {
    this.#streams.set(from, (this.#streams.get(from) ?? 0) + 1);
  }

  streamEnded(from: bigint): void {
    const left = (this.#streams.get(from) ?? 1) - 1;
    if (left > 0) {
      this.#streams.set(from, left);
      return;
    }
    this.#streams.delete(from);
    const { clock, random, self, members, leader, forgetLeader, campaign } = this.#options;
    if (from !== leader() || from === self()) return;
    forgetLeader();
    const rank = members().filter((raftId) => raftId !== from && raftId < self()).length;
    clock.setTimer(rank * staggerMs + random() * jitterMs, () => {
      if (leader() === 0n) campaign();
    });
  }
}
