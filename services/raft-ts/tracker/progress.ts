/** Pure: no clock, no I/O, no randomness. */
import { RaftInvariantError } from "../errors.ts";
import type { Inflights } from "./inflights.ts";

/**
 * How the leader treats a peer.
 * - StateProbe: its last index is unknown; at most one MsgApp per heartbeat interval.
 * - StateReplicate: it keeps up; entries are sent optimistically, as far as the in-flight window allows.
 * - StateSnapshot: it needs entries that the log no longer has; nothing is sent until the snapshot arrived.
 */
export const ProgressState = { StateProbe: 0, StateReplicate: 1, StateSnapshot: 2 } as const;
export type ProgressState = (typeof ProgressState)[keyof typeof ProgressState];

export const progressStateNames: readonly string[] = ["StateProbe", "StateReplicate", "StateSnapshot"];

export interface ProgressInit {
  readonly match: number;
  readonly next: number;
  readonly inflights: Inflights;
  readonly isLearner: boolean;
  readonly recentActive: boolean;
}

/** A peer's replication as its leader sees it. Only the leader changes it. */
export class Progress {
  /** The peer's log matches the leader's up to here. */
  match: number;
  /** Index of the next entry to send. Invariant: 0 <= match < next; in StateSnapshot next = pendingSnapshot + 1. */
  next: number;
  /** Highest commit index in flight. May fall: after a rejection, or on the way to StateProbe. */
  sentCommit = 0;
  state: ProgressState = ProgressState.StateProbe;
  /** StateSnapshot: index of the snapshot sent. */
  pendingSnapshot = 0;
  /** Something was heard of it since the last quorum check. Always true for the leader itself. */
  recentActive: boolean;
  /** No MsgApp until the next heartbeat response: a probe is out, or the window is full. */
  msgAppFlowPaused = false;
  readonly inflights: Inflights;
  isLearner: boolean;

  constructor(init: ProgressInit) {
    this.match = init.match;
    this.next = init.next;
    this.inflights = init.inflights;
    this.isLearner = init.isLearner;
    this.recentActive = init.recentActive;
  }

  /** A copy; it shares the window unless `inflights` is given. */
  clone(inflights: Inflights = this.inflights): Progress {
    const copy = new Progress({ ...this, inflights });
    copy.sentCommit = this.sentCommit;
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.msgAppFlowPaused = this.msgAppFlowPaused;
    return copy;
  }

  #resetState(state: ProgressState): void {
    this.msgAppFlowPaused = false;
    this.pendingSnapshot = 0;
    this.state = state;
    this.inflights.reset();
  }

  /** Probe from match+1, or from behind a snapshot that was sent. */
  becomeProbe(): void {
    const snapshot = this.state === ProgressState.StateSnapshot ? this.pendingSnapshot : 0;
    this.#resetState(ProgressState.StateProbe);
    this.next = Math.max(this.match, snapshot) + 1;
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  /**
   * The peer may come back with less than it acknowledged (a log whose tail was torn): probe from where it was, taking
   * nothing for known. Knowing less is always safe; its next answer tells again. Not in StateSnapshot.
   */
  forget(): void {
    // What was sent optimistically is lost; a probe's place stays, also when this is called again.
    if (this.state === ProgressState.StateReplicate) this.next = this.match + 1;
    this.#resetState(ProgressState.StateProbe);
    this.match = 0;
    this.sentCommit = 0;
  }

  becomeReplicate(): void {
    this.#resetState(ProgressState.StateReplicate);
    this.next = this.match + 1;
  }

  becomeSnapshot(snapshotIndex: number): void {
    this.#resetState(ProgressState.StateSnapshot);
    this.pendingSnapshot = snapshotIndex;
    this.next = snapshotIndex + 1;
    this.sentCommit = snapshotIndex;
  }

  /** A MsgApp with `entries` entries from `next` on is going out. Not in StateSnapshot. */
  sentEntries(entries: number, bytes: number): void {
    switch (this.state) {
      case ProgressState.StateReplicate:
        if (entries > 0) {
          this.next += entries;
          this.inflights.add(this.next - 1, bytes);
        }
        // What fills the window, or finds it full, is a probe: wait for the next heartbeat response.
        this.msgAppFlowPaused = this.inflights.isFull();
        return;
      case ProgressState.StateProbe:
        if (entries > 0) this.msgAppFlowPaused = true;
        return;
      default:
        throw new RaftInvariantError(`sending append in unhandled state ${progressStateNames[this.state]}`);
    }
  }

  /** Would sending commit index `index` tell the peer something that is not in flight already? */
  canBumpCommit(index: number): boolean {
    return index > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** The peer acknowledged `index`. False if that is old news. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.msgAppFlowPaused = false;
    return true;
  }

  /**
   * The peer rejected a MsgApp anchored at `rejected` and suggests to go on from `matchHint`. False if the rejection is
   * stale (reordered or duplicated) and nothing changed.
   */
  maybeDecrTo(rejected: number, matchHint: number): boolean {
    if (this.state === ProgressState.StateReplicate) {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.sentCommit = Math.min(this.sentCommit, this.next - 1);
      return true;
    }
    // A peer that is not replicating is probed one message at a time, so only that probe can be rejected.
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, matchHint + 1), this.match + 1);
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    this.msgAppFlowPaused = false;
    return true;
  }

  /** May no MsgApp be sent now? */
  isPaused(): boolean {
    return this.state === ProgressState.StateSnapshot || this.msgAppFlowPaused;
  }

  toString(): string {
    let out = `${progressStateNames[this.state]} match=${this.match} next=${this.next}`;
    if (this.isLearner) out += " learner";
    if (this.isPaused()) out += " paused";
    if (this.pendingSnapshot > 0) out += ` pendingSnap=${this.pendingSnapshot}`;
    if (!this.recentActive) out += " inactive";
    if (this.inflights.count > 0) out += ` inflight=${this.inflights.count}${this.inflights.isFull() ? "[full]" : ""}`;
    return out;
  }
}
