import type { StoreAction, StoreSnapshot } from "@starling/api";
import type { SwarmError } from "@starling/base";

/**
 * How the store gets a transaction agreed upon. Implemented by raft-node; the store owns it.
 *
 * Guarantees the store relies on:
 * 1. Transactions are appended to the log in the order of their `propose` calls.
 * 2. When one is refused, those proposed after it are refused too (they were made on top of it). The easy way: throw
 *    what is refused at once, for then nothing is ever proposed on top of it; reject only when leadership is lost.
 * 3. `apply` is called at most once, in log order, on the event loop; never after `abandonInFlight`'s entries were
 *    applied through `applyActions`.
 */
export interface Proposer {
  /** Index after which the next proposal will stand at the earliest (commit index): versions are chosen above it. */
  readonly committedIndex: number;
  /**
   * Proposes one transaction. `apply(index)` is called in log order when it is committed; resolves after that. Throws
   * or rejects with Unavailable when it was not accepted, rejects so when its outcome is unknown.
   */
  propose(actions: readonly StoreAction[], apply: (index: number) => void): Promise<void>;
  /**
   * Resolves with a log index, applied here, that covers everything acknowledged before the call, by whichever manager:
   * a leader that was cut off and replaced never confirms. Many calls may share one round of messages, but never one
   * that began before the call. Rejects Unavailable when no leader confirms in time.
   */
  readIndex(): Promise<number>;
}

/** What raft-node drives: the replicated state. Implemented by the store. */
export interface StateMachine {
  /** Applies an entry that this store did not propose (or has abandoned), in log order. Throws when it cannot: stop. */
  applyActions(actions: readonly StoreAction[], index: number): void;
  /** Every entry up to `index` is applied, also those that change nothing here: a version up to there is a known one. */
  reached(index: number): void;
  /** Leadership is lost: what is in flight rejects with `reason`, the state goes back to what is committed. */
  abandonInFlight(reason: SwarmError): void;
  /**
   * The committed state of this moment in parts of some hundred objects. They may be read later, piece by piece: what is
   * committed meanwhile does not show.
   */
  snapshotParts(): Iterable<StoreSnapshot>;
  /**
   * Begins to replace the committed state by that after the entry at `index`. Until the end of `finish` nothing of it
   * shows, and nothing else is applied.
   */
  beginRestore(index: number): StateRestore;
}

/** A snapshot on its way into a state machine. Who drops it has changed nothing. */
export interface StateRestore {
  /** Takes the next part; some hundred objects are the work of some milliseconds. Throws when it cannot be part of a state. */
  add(part: StoreSnapshot): void;
  /** Replaces the state by the parts taken. `pause` is awaited between pieces of work of some milliseconds. */
  finish(pause: () => Promise<void>): Promise<void>;
}
