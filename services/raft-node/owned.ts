/** Pure: no clock, no I/O, no randomness. */
import type { Entry } from "raft-ts";

/**
 * The entry with its data in memory of its own. What the log keeps must not be a view: that keeps alive all that it was cut
 * from, a batch of messages, a file, or one of Node's pools of 8 KiB.
 */
export function owningEntry(entry: Entry): Entry {
  const { term, index, type, data } = entry;
  return data.byteLength === data.buffer.byteLength ? entry : { term, index, type, data: new Uint8Array(data) };
}
