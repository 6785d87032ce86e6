/** Pure: no clock, no I/O, no randomness. */
import { hup } from "./election.ts";
import { ErrProposalDropped, type RaftError } from "./errors.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { handleAppendEntries, handleHeartbeat, handleSnapshot } from "./receive.ts";
import { send } from "./send.ts";
import { type Message, MessageType, None, ReadOnlyOption } from "./types.ts";

/** Messages of the own term to a follower. */
export function stepFollower(r: Raft, m: Message): RaftError | undefined {
  switch (m.type) {
    case MessageType.MsgProp:
      return forwardProposal(r, m);
    case MessageType.MsgApp:
      hearLeader(r, m);
      handleAppendEntries(r, m);
      return undefined;
    case MessageType.MsgHeartbeat:
      hearLeader(r, m);
      handleHeartbeat(r, m);
      return undefined;
    case MessageType.MsgSnap:
      hearLeader(r, m);
      handleSnapshot(r, m);
      return undefined;
    case MessageType.MsgTransferLeader:
      if (r.lead === None) {
        r.logger.info(() => `${hex(r.id)} no leader at term ${r.term}; dropping leader transfer msg`);
        return undefined;
      }
      forward(r, m);
      return undefined;
    case MessageType.MsgForgetLeader:
      forgetLeader(r);
      return undefined;
    case MessageType.MsgTimeoutNow:
      r.logger.info(
        () =>
          `${hex(r.id)} [term ${r.term}] received MsgTimeoutNow from ${hex(m.from)} and starts an election to get leadership.`,
      );
      hup(r, "transfer");
      return undefined;
    case MessageType.MsgReadIndex:
      if (r.lead === None) {
        r.logger.info(() => `${hex(r.id)} no leader at term ${r.term}; dropping index reading msg`);
        return undefined;
      }
      forward(r, m);
      return undefined;
    case MessageType.MsgReadIndexResp:
      handleReadIndexResponse(r, m);
      return undefined;
    default:
      return undefined;
  }
}

/** Pass a request on to the leader, as from its first sender. The term is set anew. */
function forward(r: Raft, m: Message): void {
  send(r, { ...m, to: r.lead, term: 0 });
}

function hearLeader(r: Raft, m: Message): void {
  r.electionElapsed = 0;
  r.lead = m.from;
}

function forwardProposal(r: Raft, m: Message): RaftError | undefined {
  if (r.lead === None) {
    r.logger.info(() => `${hex(r.id)} no leader at term ${r.term}; dropping proposal`);
    return ErrProposalDropped;
  }
  if (r.config.disableProposalForwarding) {
    r.logger.info(() => `${hex(r.id)} not forwarding to leader ${hex(r.lead)} at term ${r.term}; dropping proposal`);
    return ErrProposalDropped;
  }
  forward(r, m);
  return undefined;
}

function forgetLeader(r: Raft): void {
  if (r.readOnly.option === ReadOnlyOption.ReadOnlyLeaseBased) {
    // The lease rests on followers that stand by their leader.
    r.logger.error(() => "ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
    return;
  }
  if (r.lead === None) return;
  r.logger.info(() => `${hex(r.id)} forgetting leader ${hex(r.lead)} at term ${r.term}`);
  r.lead = None;
}

function handleReadIndexResponse(r: Raft, m: Message): void {
  const [entry] = m.entries;
  if (entry === undefined || m.entries.length !== 1) {
    r.logger.error(
      () => `${hex(r.id)} invalid format of MsgReadIndexResp from ${hex(m.from)}, entries count: ${m.entries.length}`,
    );
    return;
  }
  r.readStates.push({ index: m.index, requestCtx: entry.data });
}
