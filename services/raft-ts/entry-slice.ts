/** Pure: no clock, no I/O, no randomness. */
import { type Entry, noLimit } from "./types.ts";
import { entrySize } from "./wire.ts";

/**
 * A copy of `entries[from, to)`, cut to the longest prefix of at most `maxSize` bytes, but at least one entry if there is
 * any.
 */
export function sliceLimited(entries: readonly Entry[], from: number, to: number, maxSize: number): Entry[] {
  if (maxSize >= noLimit || to - from <= 1) return entries.slice(from, to);
  let size = entrySize(entries[from]!);
  let end = from + 1;
  for (; end < to; end++) {
    size += entrySize(entries[end]!);
    if (size > maxSize) break;
  }
  return entries.slice(from, end);
}
