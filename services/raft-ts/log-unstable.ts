/** Pure: no clock, no I/O, no randomness. */
import { sliceLimited } from "./entry-slice.ts";
import { type Logger, panic } from "./logger.ts";
import type { Entry, Snapshot } from "./types.ts";

/** Names one log entry; a term's leader makes at most one entry at an index. */
export interface EntryId {
  readonly term: number;
  readonly index: number;
}

/**
 * The end of the log (and perhaps a snapshot) that is not known to be in stable storage: new, or handed out and being
 * written. `offset` may lie below storage's last index; then the next write overwrites storage from there.
 */
export class Unstable {
  /** Being restored, if any. */
  snapshot: Snapshot | undefined;
  /** `snapshot` was handed out. */
  snapshotInProgress = false;
  /** entries[i] has index offset+i. Never handed out itself: it grows in place. */
  entries: Entry[] = [];
  offset: number;
  /** Entries below were handed out. Invariant: offset <= offsetInProgress <= offset + entries.length. */
  offsetInProgress: number;
  readonly #logger: Logger;

  constructor(offset: number, logger: Logger) {
    this.offset = offset;
    this.offsetInProgress = offset;
    this.#logger = logger;
  }

  /** First index of a log that starts with the snapshot. */
  maybeFirstIndex(): number | undefined {
    return this.snapshot === undefined ? undefined : this.snapshot.metadata.index + 1;
  }

  maybeLastIndex(): number | undefined {
    if (this.entries.length > 0) return this.offset + this.entries.length - 1;
    return this.snapshot?.metadata.index;
  }

  maybeTerm(index: number): number | undefined {
    if (index >= this.offset) return this.entries[index - this.offset]?.term;
    if (this.snapshot?.metadata.index === index) return this.snapshot.metadata.term;
    return undefined;
  }

  hasNextEntries(): boolean {
    return this.entries.length > this.offsetInProgress - this.offset;
  }

  /** Entries not handed out yet. */
  nextEntries(): Entry[] {
    return this.hasNextEntries() ? this.entries.slice(this.offsetInProgress - this.offset) : [];
  }

  /** The snapshot, if not handed out yet. */
  nextSnapshot(): Snapshot | undefined {
    return this.snapshotInProgress ? undefined : this.snapshot;
  }

  /** Everything present was handed out. */
  acceptInProgress(): void {
    this.offsetInProgress = this.offset + this.entries.length;
    if (this.snapshot !== undefined) this.snapshotInProgress = true;
  }

  /**
   * Entries up to `id` are in stable storage. REQUIRES: no write in progress can overwrite them there (see
   * storageAppendResp).
   */
  stableTo(id: EntryId): void {
    const term = this.maybeTerm(id.index);
    if (term === undefined) {
      this.#logger.info(() => `entry at index ${id.index} missing from unstable log; ignoring`);
      return;
    }
    if (id.index < this.offset) {
      this.#logger.info(() => `entry at index ${id.index} matched unstable snapshot; ignoring`);
      return;
    }
    if (term !== id.term) {
      // Part of the unstable log was replaced while the entries were being written.
      this.#logger.info(
        () =>
          `entry at (index,term)=(${id.index},${id.term}) mismatched with entry at (${id.index},${term}) in unstable log; ignoring`,
      );
      return;
    }
    this.entries = this.entries.slice(id.index + 1 - this.offset);
    this.offset = id.index + 1;
    this.offsetInProgress = Math.max(this.offsetInProgress, this.offset);
  }

  stableSnapTo(index: number): void {
    if (this.snapshot?.metadata.index !== index) return;
    this.snapshot = undefined;
    this.snapshotInProgress = false;
  }

  restore(snapshot: Snapshot): void {
    this.offset = snapshot.metadata.index + 1;
    this.offsetInProgress = this.offset;
    this.entries = [];
    this.snapshot = snapshot;
    this.snapshotInProgress = false;
  }

  /** Append `entries` (at least one), replacing what is there from their first index on. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const from = entries[0]!.index;
    if (from === this.offset + this.entries.length) {
      // The usual case: they follow directly.
    } else if (from <= this.offset) {
      this.#logger.info(() => `replace the unstable entries from index ${from}`);
      this.entries = [];
      this.offset = from;
      this.offsetInProgress = from;
    } else {
      this.#logger.info(() => `truncate the unstable entries before index ${from}`);
      this.#mustBeInBounds(this.offset, from);
      this.entries.length = from - this.offset;
      this.offsetInProgress = Math.min(this.offsetInProgress, from);
    }
    for (const entry of entries) this.entries.push(entry);
  }

  /** A copy of entries [lo, hi), cut to `maxSize` bytes but at least one. */
  slice(lo: number, hi: number, maxSize: number): Entry[] {
    this.#mustBeInBounds(lo, hi);
    return sliceLimited(this.entries, lo - this.offset, hi - this.offset, maxSize);
  }

  #mustBeInBounds(lo: number, hi: number): void {
    if (lo > hi) panic(this.#logger, () => `invalid unstable.slice ${lo} > ${hi}`);
    const upper = this.offset + this.entries.length;
    if (lo < this.offset || hi > upper) {
      panic(this.#logger, () => `unstable.slice[${lo},${hi}) out of bound [${this.offset},${upper}]`);
    }
  }
}
