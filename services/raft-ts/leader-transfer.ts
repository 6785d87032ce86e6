/** Pure: no clock, no I/O, no randomness. */
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { sendAppend } from "./replicate.ts";
import { send } from "./send.ts";
import type { Progress } from "./tracker/progress.ts";
import { type Message, MessageType, None } from "./types.ts";

// Leadership transfer (Raft thesis §3.10): bring the target up to date, then tell it to campaign at once. It is given up
// after an election timeout; meanwhile proposals are dropped.

export function sendTimeoutNow(r: Raft, to: bigint): void {
  send(r, { type: MessageType.MsgTimeoutNow, to });
}

/** MsgTransferLeader at the leader; `from` is the target. */
export function handleTransferLeader(r: Raft, m: Message, pr: Progress): void {
  const target = m.from;
  const self = hex(r.id);
  if (pr.isLearner) {
    r.logger.debug(() => `${self} is learner. Ignored transferring leadership`);
    return;
  }
  const last = r.leadTransferee;
  if (last === target) {
    r.logger.info(
      () =>
        `${self} [term ${r.term}] transfer leadership to ${hex(target)} is in progress, ignores request to same node ${hex(target)}`,
    );
    return;
  }
  if (last !== None) {
    r.leadTransferee = None;
    r.logger.info(() => `${self} [term ${r.term}] abort previous transferring leadership to ${hex(last)}`);
  }
  if (target === r.id) {
    r.logger.debug(() => `${self} is already leader. Ignored transferring leadership to self`);
    return;
  }
  r.logger.info(() => `${self} [term ${r.term}] starts to transfer leadership to ${hex(target)}`);
  // It has one election timeout from now.
  r.electionElapsed = 0;
  r.leadTransferee = target;
  if (pr.match === r.log.lastIndex()) {
    sendTimeoutNow(r, target);
    r.logger.info(
      () => `${self} sends MsgTimeoutNow to ${hex(target)} immediately as ${hex(target)} already has up-to-date log`,
    );
  } else {
    sendAppend(r, target);
  }
}
