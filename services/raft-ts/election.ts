/** Pure: no clock, no I/O, no randomness. */
import { hex, messageTypeName, voteResponseType } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { becomeCandidate, becomePreCandidate } from "./roles.ts";
import { send } from "./send.ts";
import { EntryType, type Message, MessageType, None, StateType } from "./types.ts";

/**
 * - preElection: ask whether an election could be won (thesis §9.6).
 * - election: by timeout, or after a pre-election.
 * - transfer: on the leader's wish; voters ignore their lease, and there is no pre-election.
 */
export type CampaignType = "preElection" | "election" | "transfer";

/** Context of a MsgVote that is part of a leader transfer. */
const transferContext: Uint8Array = Uint8Array.from("CampaignTransfer", (c) => c.charCodeAt(0));

function isTransfer(context: Uint8Array | undefined): boolean {
  return context?.length === transferContext.length && transferContext.every((byte, i) => context[i] === byte);
}

/** Campaign, if that makes sense. */
export function hup(r: Raft, type: CampaignType): void {
  if (r.state === StateType.StateLeader) {
    r.logger.debug(() => `${hex(r.id)} ignoring MsgHup because already leader`);
    return;
  }
  if (!r.promotable()) {
    r.logger.warn(() => `${hex(r.id)} is unpromotable and can not campaign`);
    return;
  }
  if (hasUnappliedConfChanges(r)) {
    r.logger.warn(
      () =>
        `${hex(r.id)} cannot campaign at term ${r.term} since there are still pending configuration changes to apply`,
    );
    return;
  }
  r.logger.info(() => `${hex(r.id)} is starting a new election at term ${r.term}`);
  campaign(r, type);
}

function hasUnappliedConfChanges(r: Raft): boolean {
  const { applied, committed, maxApplyingEntsSize } = r.log;
  if (applied >= committed) return false;
  return r.log.some(applied + 1, committed + 1, maxApplyingEntsSize, ({ type }) => type !== EntryType.EntryNormal);
}

export function campaign(r: Raft, type: CampaignType): void {
  if (!r.promotable()) {
    r.logger.warn(() => `${hex(r.id)} is unpromotable; campaign() should have been called`);
  }
  let term: number;
  let voteType: MessageType;
  if (type === "preElection") {
    becomePreCandidate(r);
    voteType = MessageType.MsgPreVote;
    term = r.term + 1;
  } else {
    becomeCandidate(r);
    voteType = MessageType.MsgVote;
    term = r.term;
  }
  const context = type === "transfer" ? transferContext : undefined;
  for (const id of r.tracker.voterNodes()) {
    if (id === r.id) {
      // The own vote counts once it is durable.
      send(r, { type: voteResponseType(voteType), to: id, term });
      continue;
    }
    const last = r.log.lastEntryId();
    r.logger.info(
      () =>
        `${hex(r.id)} [logterm: ${last.term}, index: ${last.index}] sent ${messageTypeName(voteType)} request to ${hex(id)} at term ${r.term}`,
    );
    send(r, { type: voteType, to: id, term, index: last.index, logTerm: last.term, context });
  }
}

/** Does the lease of the present leader forbid to hear this request for a vote? (Thesis §4.2.3.) */
export function ignoredByLease(r: Raft, m: Message): boolean {
  const inLease = r.config.checkQuorum && r.lead !== None && r.electionElapsed < r.config.electionTick;
  if (!inLease || isTransfer(m.context)) return false;
  r.logger.info(
    () =>
      `${voteLine(r, m, "ignored", "from")}: lease is not expired (remaining ticks: ${r.config.electionTick - r.electionElapsed})`,
  );
  return true;
}

/** A MsgPreVote of an older term: tell the sender about the newer one, or a group that turns PreVote on could get stuck. */
export function rejectOldPreVote(r: Raft, m: Message): void {
  r.logger.info(() => voteLine(r, m, "rejected", "from"));
  send(r, { type: MessageType.MsgPreVoteResp, to: m.from, term: r.term, reject: true });
}

/**
 * Answer MsgVote or MsgPreVote. Learners vote too: a learner may have been promoted without knowing it yet, and its vote
 * may be needed to elect the one who can tell it.
 */
export function handleVoteRequest(r: Raft, m: Message): void {
  const canVote =
    r.vote === m.from || (r.vote === None && r.lead === None) || (m.type === MessageType.MsgPreVote && m.term > r.term);
  const type = voteResponseType(m.type);
  if (!canVote || !r.log.isUpToDate({ term: m.logTerm, index: m.index })) {
    r.logger.info(() => voteLine(r, m, "rejected", "from"));
    send(r, { type, to: m.from, term: r.term, reject: true });
    return;
  }
  r.logger.info(() => voteLine(r, m, "cast", "for"));
  // With the request's term, not the own one, which is lower for a pre-vote and would make the answer be ignored.
  send(r, { type, to: m.from, term: m.term });
  if (m.type === MessageType.MsgVote) {
    r.electionElapsed = 0;
    r.vote = m.from;
  }
}

function voteLine(r: Raft, m: Message, verb: string, preposition: string): string {
  const last = r.log.lastEntryId();
  return (
    `${hex(r.id)} [logterm: ${last.term}, index: ${last.index}, vote: ${hex(r.vote)}] ${verb} ${messageTypeName(m.type)} ` +
    `${preposition} ${hex(m.from)} [logterm: ${m.logTerm}, index: ${m.index}] at term ${r.term}`
  );
}

/** Count the answer to a campaign. */
export function poll(r: Raft, m: Message): ReturnType<Raft["tracker"]["tallyVotes"]> {
  r.logger.info(
    () =>
      `${hex(r.id)} received ${messageTypeName(m.type)}${m.reject ? " rejection" : ""} from ${hex(m.from)} at term ${r.term}`,
  );
  r.tracker.recordVote(m.from, !m.reject);
  return r.tracker.tallyVotes();
}
