/** Pure: no clock, no I/O, no randomness. */
import type { ConfState, Entry, HardState, Snapshot } from "./types.ts";

/** What a node starts from. */
export interface InitialState {
  /** Absent: nothing was persisted yet. */
  readonly hardState: HardState | undefined;
  readonly confState: ConfState;
}

/**
 * The host's stable log, as raft reads it. Raft never writes: the host does, on behalf of Ready.
 * Every method answers at once from memory. Any error other than those named ends the node.
 */
export interface Storage {
  initialState(): InitialState;
  /**
   * The entries [lo, hi), cut to at most `maxSize` bytes (`entrySize`) but at least one. The array is the caller's; the
   * entries are shared and immutable.
   * @throws ErrCompacted if `lo` is compacted away.
   * @throws ErrUnavailable if an entry is not there.
   */
  entries(lo: number, hi: number, maxSize: number): Entry[];
  /**
   * Term of entry `index` in [firstIndex()-1, lastIndex()]: that of the entry before the first is kept for matching.
   * @throws ErrCompacted | ErrUnavailable outside of that range.
   */
  term(index: number): number;
  lastIndex(): number;
  /** First index available through `entries`; lastIndex()+1 when there is none. */
  firstIndex(): number;
  /**
   * The newest snapshot.
   * @throws ErrSnapshotTemporarilyUnavailable to be asked again later.
   */
  snapshot(): Snapshot;
}
