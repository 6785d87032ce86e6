/** Pure: no clock, no I/O, no randomness. */

/** Ids that decide by majority. */
export type MajorityConfig = ReadonlySet<bigint>;

/** The highest index that voter `id` acknowledged; undefined if nothing is known of it. */
export type AckedIndexer = (id: bigint) => number | undefined;

export const VoteResult = {
  /** Depends on votes still to come. */
  VotePending: 1,
  VoteLost: 2,
  VoteWon: 3,
} as const;
export type VoteResult = (typeof VoteResult)[keyof typeof VoteResult];

/**
 * The largest index that a majority acknowledged; unknown counts as 0. An empty config has committed everything
 * (Infinity), so that half of a joint config can be empty.
 */
export function majorityCommittedIndex(config: MajorityConfig, acked: AckedIndexer): number {
  const n = config.size;
  if (n === 0) return Number.POSITIVE_INFINITY;
  const sorted: number[] = [];
  for (const id of config) {
    const index = acked(id) ?? 0;
    // Insertion sort: groups are small.
    let at = sorted.length;
    while (at > 0 && sorted[at - 1]! > index) at--;
    if (at === sorted.length) sorted.push(index);
    else sorted.splice(at, 0, index);
  }
  return sorted[n - (Math.floor(n / 2) + 1)]!;
}

/** Has a majority said yes, or no, or is it open? An empty config wins. */
export function majorityVoteResult(config: MajorityConfig, votes: ReadonlyMap<bigint, boolean>): VoteResult {
  if (config.size === 0) return VoteResult.VoteWon;
  let granted = 0;
  let missing = 0;
  for (const id of config) {
    const vote = votes.get(id);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const quorum = Math.floor(config.size / 2) + 1;
  if (granted >= quorum) return VoteResult.VoteWon;
  return granted + missing >= quorum ? VoteResult.VotePending : VoteResult.VoteLost;
}

export function compareIds(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The ids in ascending order. */
export function sortedIds(ids: Iterable<bigint>): bigint[] {
  return [...ids].sort(compareIds);
}

/** `(1 2 a)`: ascending, hexadecimal. */
export function describeMajority(config: MajorityConfig): string {
  return `(${sortedIds(config)
    .map((id) => id.toString(16))
    .join(" ")})`;
}

/** `∞` for the committed index of an empty config. */
export function describeIndex(index: number): string {
  return index === Number.POSITIVE_INFINITY ? "∞" : String(index);
}

/** A small chart of who acknowledged what: one line a voter, a longer bar for a higher rank. */
export function describeMajorityProgress(config: MajorityConfig, acked: AckedIndexer): string {
  const n = config.size;
  if (n === 0) return "<empty majority quorum>";
  const rows = sortedIds(config).map((id) => ({ id, index: acked(id) }));
  let out = `${" ".repeat(n)}    idx\n`;
  for (const { id, index } of rows) {
    const below = rows.filter((row) => (row.index ?? 0) < (index ?? 0)).length;
    const bar = index === undefined ? `?${" ".repeat(n)}` : `${"x".repeat(below)}>${" ".repeat(n - below)}`;
    out += `${bar} ${String(index ?? 0).padStart(5)}    (id=${id.toString(16)})\n`;
  }
  return out;
}
