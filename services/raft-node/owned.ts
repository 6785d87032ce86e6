/** Pure: no clock, no I/O, no randomness. */
import type { Entry } from "raft-ts";

/**
 * The entry with its data in memory of its own. What the log keeps must not be a view: that keeps alive all that it was cut
 * from, a batch of messages, a file, or one of Node's pools of 8 KiB.
 *
 * The memory is a SharedArrayBuffer's, though nobody shares it: V8 counts other buffers against a limit (64 MiB more than after its last
 * collection), as many as a log grows by between two snapshots; beyond it each new buffer of the program, were it of a few
 * bytes, has V8 collect for 5 to 10 ms. That the log is bounded is the snapshots' matter.
 */
export function owningEntry(entry: Entry): Entry {
  const { term, index, type, data } = entry;
  if (data.buffer instanceof SharedArrayBuffer && data.byteLength === data.buffer.byteLength) return entry;
  const own = new Uint8Array(new SharedArrayBuffer(data.byteLength));
  own.set(data);
  return { term, index, type, data: own };
}
