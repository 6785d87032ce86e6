/** Pure: no clock, no I/O, no randomness. */
import type { StoreAction } from "@starling/api";
import { SwarmError } from "@starling/base";
import type { Proposer } from "./proposer.ts";

interface Pending {
  readonly actions: readonly StoreAction[];
  readonly apply: (index: number) => void;
  readonly done: PromiseWithResolvers<void>;
}

/** A log for tests: proposals wait until `commit` or `refuse` says what becomes of them. */
export class FakeProposer implements Proposer {
  committedIndex: number;
  readonly pending: Pending[] = [];
  readonly log: { readonly index: number; readonly actions: readonly StoreAction[] }[] = [];

  /** Reads that wait for `confirmReads` or `refuse`. */
  readonly reads: PromiseWithResolvers<number>[] = [];

  constructor(committedIndex = 0) {
    this.committedIndex = committedIndex;
  }

  propose(actions: readonly StoreAction[], apply: (index: number) => void): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.pending.push({ actions, apply, done });
    return done.promise;
  }

  readIndex(): Promise<number> {
    const read = Promise.withResolvers<number>();
    this.reads.push(read);
    return read.promise;
  }

  confirmReads(): void {
    for (const { resolve } of this.reads.splice(0)) resolve(this.committedIndex);
  }

  /** Commits the oldest `count` proposals. */
  commit(count = this.pending.length): void {
    for (const { actions, apply, done } of this.pending.splice(0, count)) {
      this.committedIndex++;
      this.log.push({ index: this.committedIndex, actions });
      apply(this.committedIndex);
      done.resolve();
    }
  }

  /** Refuses proposals from position `from` on, and the reads. */
  refuse(from = 0): void {
    for (const { reject } of this.reads.splice(0)) reject(new SwarmError("Unavailable", "not the leader"));
    for (const { done } of this.pending.splice(from)) done.reject(new SwarmError("Unavailable", "not the leader"));
  }
}
