/** Pure: no clock, no I/O, no randomness. */
import { sliceLimited } from "./entry-slice.ts";
import { ErrCompacted, ErrSnapOutOfDate, ErrUnavailable, RaftInvariantError } from "./errors.ts";
import type { InitialState, Storage } from "./storage.ts";
import {
  type ConfState,
  type Entry,
  EntryType,
  emptySnapshot,
  type HardState,
  noData,
  type Snapshot,
} from "./types.ts";

function dummyEntry(index: number, term: number): Entry {
  return { term, index, type: EntryType.EntryNormal, data: noData };
}

/** A log in memory: the storage of tests, and the in-memory side of a host that writes its log elsewhere. */
export class MemoryStorage implements Storage {
  #hardState: HardState | undefined;
  #snapshot: Snapshot = emptySnapshot;
  /** [0] is a dummy that carries index and term of the last compacted entry; the others follow without a gap. */
  #entries: Entry[] = [dummyEntry(0, 0)];

  initialState(): InitialState {
    return { hardState: this.#hardState, confState: this.#snapshot.metadata.confState };
  }

  setHardState(hardState: HardState): void {
    this.#hardState = hardState;
  }

  entries(lo: number, hi: number, maxSize: number): Entry[] {
    const offset = this.#offset();
    if (lo <= offset) throw ErrCompacted;
    if (hi > this.lastIndex() + 1) {
      throw new RaftInvariantError(`entries' hi(${hi}) is out of bound lastindex(${this.lastIndex()})`);
    }
    if (this.#entries.length === 1) throw ErrUnavailable;
    return sliceLimited(this.#entries, lo - offset, hi - offset, maxSize);
  }

  term(index: number): number {
    const offset = this.#offset();
    if (index < offset) throw ErrCompacted;
    const entry = this.#entries[index - offset];
    if (entry === undefined) throw ErrUnavailable;
    return entry.term;
  }

  lastIndex(): number {
    return this.#offset() + this.#entries.length - 1;
  }

  firstIndex(): number {
    return this.#offset() + 1;
  }

  snapshot(): Snapshot {
    return this.#snapshot;
  }

  /**
   * Replace everything by `snapshot`.
   * @throws ErrSnapOutOfDate if the own one is as new. (One with index 0 holds just a ConfState and may be replaced.)
   */
  applySnapshot(snapshot: Snapshot): void {
    const own = this.#snapshot.metadata.index;
    const { index, term } = snapshot.metadata;
    if (own !== 0 && own >= index) throw ErrSnapOutOfDate;
    this.#snapshot = snapshot;
    this.#entries = [dummyEntry(index, term)];
  }

  /**
   * Take the snapshot that `snapshot()` returns from now on. The log stays: see `compact`.
   * @param confState what the last applyConfChange returned, if there was one since the last snapshot.
   * @throws ErrSnapOutOfDate
   */
  createSnapshot(index: number, confState: ConfState | undefined, data: Uint8Array): Snapshot {
    const { metadata } = this.#snapshot;
    if (index <= metadata.index) throw ErrSnapOutOfDate;
    if (index > this.lastIndex()) {
      throw new RaftInvariantError(`snapshot ${index} is out of bound lastindex(${this.lastIndex()})`);
    }
    this.#snapshot = { data, metadata: { index, term: this.term(index), confState: confState ?? metadata.confState } };
    return this.#snapshot;
  }

  /** Drop the entries up to and including `index`, which must be applied. @throws ErrCompacted if they are gone. */
  compact(index: number): void {
    const offset = this.#offset();
    if (index <= offset) throw ErrCompacted;
    if (index > this.lastIndex()) {
      throw new RaftInvariantError(`compact ${index} is out of bound lastindex(${this.lastIndex()})`);
    }
    const kept = this.#entries.slice(index - offset);
    kept[0] = dummyEntry(index, kept[0]!.term);
    this.#entries = kept;
  }

  /** Append, overwriting what is there from the first new index on. No gap allowed. */
  append(entries: readonly Entry[]): void {
    const given = entries[0]?.index;
    if (given === undefined) return;
    const first = this.firstIndex();
    if (given + entries.length - 1 < first) return;
    const fresh = given < first ? entries.slice(first - given) : entries;
    const at = fresh[0]!.index - this.#offset();
    if (at > this.#entries.length) {
      throw new RaftInvariantError(`missing log entry [last: ${this.lastIndex()}, append at: ${fresh[0]!.index}]`);
    }
    this.#entries.length = at;
    for (const entry of fresh) this.#entries.push(entry);
  }

  #offset(): number {
    return this.#entries[0]!.index;
  }
}
