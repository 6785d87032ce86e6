/** Pure: no clock, no I/O, no randomness. */
import { RaftError } from "./errors.ts";
import { hex, messageTypeName } from "./message-kinds.ts";
import { type Message, MessageType } from "./types.ts";

const numbers = ["term", "logTerm", "index", "commit", "rejectHint"] as const;

/**
 * What must hold of a message before it may touch the state: its numbers are safe integers, and the entries of a MsgApp
 * are a piece of its leader's log (see LogSlice). Returns why it is refused, or undefined.
 */
export function checkMessage(m: Message): RaftError | undefined {
  for (const field of numbers) {
    if (!Number.isSafeInteger(m[field]) || m[field] < 0) {
      return refusal(m, `${field}=${m[field]} is not an integer below 2^53`);
    }
  }
  if (m.type !== MessageType.MsgApp) return undefined;
  let { index } = m;
  let term = m.logTerm;
  for (const entry of m.entries) {
    if (entry.index !== index + 1 || entry.term < term) {
      return refusal(m, `entry ${entry.term}/${entry.index} cannot follow ${term}/${index}`);
    }
    ({ index, term } = entry);
  }
  return term > m.term ? refusal(m, `entry ${term}/${index} is of a later term than ${m.term}`) : undefined;
}

function refusal(m: Message, why: string): RaftError {
  return new RaftError(`raft: malformed ${messageTypeName(m.type)} from ${hex(m.from)}: ${why}`);
}
