/** Pure: no clock, no I/O, no randomness. */
import { ErrCompacted, ErrUnavailable } from "./errors.ts";
import { type EntryId, Unstable } from "./log-unstable.ts";
import { type Logger, panic } from "./logger.ts";
import type { Storage } from "./storage.ts";
import type { Entry, Snapshot } from "./types.ts";
import { entriesSize } from "./wire.ts";

/**
 * Consecutive entries of the log of `term`'s leader, from a MsgApp.
 * Guarantees: (1) entries[i].index = prev.index + 1 + i; (2) terms never fall, from prev.term on; (3) none exceeds `term`.
 */
export interface LogSlice {
  readonly term: number;
  readonly prev: EntryId;
  readonly entries: readonly Entry[];
}

/** The log as raft sees it: stable storage, continued (and partly replaced) by what is unstable. */
export class RaftLog {
  readonly storage: Storage;
  readonly unstable: Unstable;
  /** Highest index known to be stable on a quorum. */
  committed: number;
  /** Highest index handed out for application. Invariant: applied <= applying <= committed. */
  applying: number;
  /** Highest index that the application applied. */
  applied: number;
  /** Bytes that may be handed out and not applied. */
  readonly maxApplyingEntsSize: number;
  #applyingEntsSize = 0;
  /** Nothing is handed out until something is applied. */
  #applyingEntsPaused = false;
  readonly #logger: Logger;

  constructor(storage: Storage, logger: Logger, maxApplyingEntsSize: number) {
    this.storage = storage;
    this.unstable = new Unstable(storage.lastIndex() + 1, logger);
    const compacted = storage.firstIndex() - 1;
    this.committed = compacted;
    this.applying = compacted;
    this.applied = compacted;
    this.maxApplyingEntsSize = maxApplyingEntsSize;
    this.#logger = logger;
  }

  toString(): string {
    const u = this.unstable;
    return (
      `committed=${this.committed}, applied=${this.applied}, applying=${this.applying}, unstable.offset=${u.offset}, ` +
      `unstable.offsetInProgress=${u.offsetInProgress}, len(unstable.Entries)=${u.entries.length}`
    );
  }

  firstIndex(): number {
    return this.unstable.maybeFirstIndex() ?? this.storage.firstIndex();
  }

  lastIndex(): number {
    return this.unstable.maybeLastIndex() ?? this.storage.lastIndex();
  }

  lastEntryId(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    if (term === undefined) {
      panic(
        this.#logger,
        () => `unexpected error when getting the last term at ${index} [first: ${this.firstIndex()}]`,
      );
    }
    return { term, index };
  }

  /** Term of the entry at `index`; undefined if it is compacted away or not there yet. */
  term(index: number): number | undefined {
    const unstable = this.unstable.maybeTerm(index);
    if (unstable !== undefined) return unstable;
    // The term of the entry before the first is kept, for matching.
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    try {
      return this.storage.term(index);
    } catch (err) {
      // The storage may have been compacted by its host since firstIndex.
      if (err === ErrCompacted || err === ErrUnavailable) return undefined;
      throw err;
    }
  }

  matchTerm(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Raft paper §5.4.1: is a log that ends with `their` entry at least as good as this one? */
  isUpToDate(their: EntryId): boolean {
    const our = this.lastEntryId();
    return their.term > our.term || (their.term === our.term && their.index >= our.index);
  }

  /** Append what a leader sent. Index of the last entry sent, or undefined if the log doesn't contain `slice.prev`. */
  maybeAppend(slice: LogSlice, committed: number): number | undefined {
    if (!this.matchTerm(slice.prev)) return undefined;
    const last = slice.prev.index + slice.entries.length;
    const conflict = this.findConflict(slice.entries);
    if (conflict !== 0) {
      if (conflict <= this.committed) {
        panic(this.#logger, () => `entry ${conflict} conflict with committed entry [committed(${this.committed})]`);
      }
      const known = conflict - (slice.prev.index + 1);
      if (known > slice.entries.length) {
        panic(this.#logger, () => `index, ${known}, is out of range [${slice.entries.length}]`);
      }
      this.append(known === 0 ? slice.entries : slice.entries.slice(known));
    }
    this.commitTo(Math.min(committed, last));
    return last;
  }

  /** Append, replacing from the first index on. Returns the new last index. */
  append(entries: readonly Entry[]): number {
    const first = entries[0];
    if (first === undefined) return this.lastIndex();
    if (first.index - 1 < this.committed) {
      panic(this.#logger, () => `after(${first.index - 1}) is out of range [committed(${this.committed})]`);
    }
    this.unstable.truncateAndAppend(entries);
    return this.lastIndex();
  }

  /** Index of the first of `entries` that the log lacks or has with another term; 0 if it has them all. */
  findConflict(entries: readonly Entry[]): number {
    for (const entry of entries) {
      if (this.matchTerm(entry)) continue;
      if (entry.index <= this.lastIndex()) {
        this.#logger.info(
          () =>
            `found conflict at index ${entry.index} [existing term: ${this.term(entry.index) ?? 0}, conflicting term: ${entry.term}]`,
        );
      }
      return entry.index;
    }
    return 0;
  }

  /**
   * A best guess where this log and another one match, of which just one entry (index, term) is known: the largest
   * index <= `index` whose term is <= `term` or unknown (then term 0).
   */
  findConflictByTerm(index: number, term: number): EntryId {
    for (let i = index; i > 0; i--) {
      const ours = this.term(i);
      if (ours === undefined) return { index: i, term: 0 };
      if (ours <= term) return { index: i, term: ours };
    }
    return { index: 0, term: 0 };
  }

  hasNextCommittedEnts(allowUnstable: boolean): boolean {
    // While a snapshot is to be applied nothing else is: the order would be unclear.
    if (this.#applyingEntsPaused || this.unstable.snapshot !== undefined) return false;
    return this.applying < this.#maxAppliableIndex(allowUnstable);
  }

  /** Committed entries to hand out; with `allowUnstable` those that are not known to be stable here, too. */
  nextCommittedEnts(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommittedEnts(allowUnstable)) return [];
    const lo = this.applying + 1;
    const hi = this.#maxAppliableIndex(allowUnstable) + 1;
    const maxSize = this.maxApplyingEntsSize - this.#applyingEntsSize;
    if (maxSize <= 0) {
      panic(
        this.#logger,
        () => `applying entry size (${this.maxApplyingEntsSize}-${this.#applyingEntsSize})=${maxSize} not positive`,
      );
    }
    const entries = this.slice(lo, hi, maxSize);
    if (entries === undefined) {
      panic(this.#logger, () => `unexpected error when getting unapplied entries [${lo}, ${hi}): compacted`);
    }
    return entries;
  }

  #maxAppliableIndex(allowUnstable: boolean): number {
    return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1);
  }

  /** The newest snapshot. @throws ErrSnapshotTemporarilyUnavailable */
  snapshot(): Snapshot {
    return this.unstable.snapshot ?? this.storage.snapshot();
  }

  /** The commit index never falls. */
  commitTo(index: number): void {
    if (index <= this.committed) return;
    if (index > this.lastIndex()) {
      panic(
        this.#logger,
        () =>
          `tocommit(${index}) is out of range [lastIndex(${this.lastIndex()})]. Was the raft log corrupted, truncated, or lost?`,
      );
    }
    this.committed = index;
  }

  /** Commit `at` if it is new and the log has it: only entries of the own term (Raft paper §5.4.2). */
  maybeCommit(at: EntryId): boolean {
    if (at.term === 0 || at.index <= this.committed || !this.matchTerm(at)) return false;
    this.commitTo(at.index);
    return true;
  }

  /** The application applied up to `index`, `size` bytes of entries. */
  appliedTo(index: number, size: number): void {
    if (this.committed < index || index < this.applied) {
      panic(
        this.#logger,
        () => `applied(${index}) is out of range [prevApplied(${this.applied}), committed(${this.committed})]`,
      );
    }
    this.applied = index;
    this.applying = Math.max(this.applying, index);
    this.#applyingEntsSize = Math.max(0, this.#applyingEntsSize - size);
    this.#applyingEntsPaused = this.#applyingEntsSize >= this.maxApplyingEntsSize;
  }

  /** Entries up to `index`, `size` bytes, were handed out for application. */
  acceptApplying(index: number, size: number, allowUnstable: boolean): void {
    if (this.committed < index) {
      panic(
        this.#logger,
        () => `applying(${index}) is out of range [prevApplying(${this.applying}), committed(${this.committed})]`,
      );
    }
    this.applying = index;
    this.#applyingEntsSize += size;
    // Paused when the limit is reached, and also when it cut the entries handed out: the next one would cross it.
    this.#applyingEntsPaused =
      this.#applyingEntsSize >= this.maxApplyingEntsSize || index < this.#maxAppliableIndex(allowUnstable);
  }

  restore(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    this.#logger.info(() => `log [${this}] starts to restore snapshot [index: ${index}, term: ${term}]`);
    this.committed = index;
    this.unstable.restore(snapshot);
  }

  /** Entries from `index` to the end, up to `maxSize` bytes but at least one. Undefined: compacted away. */
  entries(index: number, maxSize: number): readonly Entry[] | undefined {
    const last = this.lastIndex();
    return index > last ? [] : this.slice(index, last + 1, maxSize);
  }

  /** Is there an entry in [lo, hi) that `wanted` accepts? Reads pages of `pageSize` bytes. */
  some(lo: number, hi: number, pageSize: number, wanted: (entry: Entry) => boolean): boolean {
    for (let at = lo; at < hi; ) {
      const page = this.slice(at, hi, pageSize);
      if (page === undefined || page.length === 0) {
        panic(this.#logger, () => `error scanning unapplied entries [${lo}, ${hi}): none at ${at}`);
      }
      if (page.some(wanted)) return true;
      at += page.length;
    }
    return false;
  }

  /** Entries [lo, hi), up to `maxSize` bytes but at least one. Undefined: `lo` is compacted away. */
  slice(lo: number, hi: number, maxSize: number): readonly Entry[] | undefined {
    if (lo > hi) panic(this.#logger, () => `invalid slice ${lo} > ${hi}`);
    const first = this.firstIndex();
    if (lo < first) return undefined;
    if (hi > this.lastIndex() + 1) {
      panic(this.#logger, () => `slice[${lo},${hi}) out of bound [${first},${this.lastIndex()}]`);
    }
    if (lo === hi) return [];
    const { offset } = this.unstable;
    if (lo >= offset) return this.unstable.slice(lo, hi, maxSize);

    const cut = Math.min(hi, offset);
    const stable = this.#stableEntries(lo, cut, maxSize);
    if (stable === undefined || hi <= offset || stable.length < cut - lo) return stable;
    const size = entriesSize(stable);
    if (size >= maxSize) return stable;
    const rest = this.unstable.slice(offset, hi, maxSize - size);
    // A single entry comes whatever its size; here there is one already.
    if (rest.length === 1 && size + entriesSize(rest) > maxSize) return stable;
    for (const entry of rest) stable.push(entry);
    return stable;
  }

  #stableEntries(lo: number, hi: number, maxSize: number): Entry[] | undefined {
    try {
      return this.storage.entries(lo, hi, maxSize);
    } catch (err) {
      if (err === ErrCompacted) return undefined;
      if (err === ErrUnavailable) panic(this.#logger, () => `entries[${lo}:${hi}) is unavailable from storage`);
      throw err;
    }
  }
}
