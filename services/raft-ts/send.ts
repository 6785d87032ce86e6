/** Pure: no clock, no I/O, no randomness. */
import { panic } from "./logger.ts";
import { messageTypeName } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { type Message, MessageType, None, newMessage } from "./types.ts";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
const M = MessageType;

/**
 * Queue a message. `from` defaults to this node; the term is filled in, except for campaign messages, which bring the
 * term that they campaign for.
 *
 * Answers that count as votes, for a leader or for log entries, wait until all unstable state is durable: a server must
 * not vote twice in a term, nor lose entries that it acknowledged (Raft thesis §3.8). Rejections wait too, for safety.
 */
export function send(r: Raft, fields: Partial<Message> & { readonly type: MessageType; readonly to: bigint }): void {
  const m: Mutable<Message> = newMessage(fields);
  if (m.from === None) m.from = r.id;
  const { type } = m;
  if (type === M.MsgVote || type === M.MsgVoteResp || type === M.MsgPreVote || type === M.MsgPreVoteResp) {
    if (m.term === 0) panic(r.logger, () => `term should be set when sending ${messageTypeName(type)}`);
  } else {
    if (m.term !== 0) {
      panic(r.logger, () => `term should not be set when sending ${messageTypeName(type)} (was ${m.term})`);
    }
    // Forwarded requests are local to the leader, whatever its term.
    if (type !== M.MsgProp && type !== M.MsgReadIndex) m.term = r.term;
  }
  if (type === M.MsgAppResp || type === M.MsgVoteResp || type === M.MsgPreVoteResp) {
    r.msgsAfterAppend.push(m);
    return;
  }
  if (m.to === r.id)
    panic(r.logger, () => `message should not be self-addressed when sending ${messageTypeName(type)}`);
  r.msgs.push(m);
}
