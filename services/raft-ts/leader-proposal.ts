/** Pure: no clock, no I/O, no randomness. */
import { asV2, confChangeOf } from "./confchange/conf-change.ts";
import { describeConfChange } from "./describe-conf.ts";
import { ErrProposalDropped, RaftError } from "./errors.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { appendEntries, bcastAppend } from "./replicate.ts";
import { describeTrackerConfig } from "./tracker/tracker.ts";
import { type AnyConfChange, type Entry, EntryType, type Message, None, refusedConfChangeData } from "./types.ts";

/** MsgProp at the leader: check conf changes, append, replicate. */
export function handleProposal(r: Raft, m: Message): RaftError | undefined {
  if (m.entries.length === 0) return new RaftError(`${hex(r.id)} stepped empty MsgProp from ${hex(m.from)}`);
  // Removed while leading: take nothing more.
  if (!r.tracker.progress.has(r.id)) return ErrProposalDropped;
  if (r.leadTransferee !== None) {
    r.logger.debug(
      () =>
        `${hex(r.id)} [term ${r.term}] transfer leadership to ${hex(r.leadTransferee)} is in progress; dropping proposal`,
    );
    return ErrProposalDropped;
  }
  const entries = checkConfChanges(r, m.entries);
  if (entries instanceof RaftError) return entries;
  if (!appendEntries(r, entries)) return ErrProposalDropped;
  bcastAppend(r);
  return undefined;
}

/**
 * Only one conf change may be unapplied at a time; one that cannot be taken now becomes an empty normal entry. The
 * check is against the applied configuration, which may be behind the log, and so is a best effort.
 */
function checkConfChanges(r: Raft, entries: readonly Entry[]): readonly Entry[] | RaftError {
  if (entries.every(({ type }) => type === EntryType.EntryNormal)) return entries;
  let changes: (AnyConfChange | undefined)[];
  try {
    changes = entries.map(confChangeOf);
  } catch (err) {
    // From a peer or the host: not our mistake, so refused rather than fatal.
    if (err instanceof RaftError) return err;
    throw err;
  }
  return entries.map((entry, i) => {
    const change = changes[i];
    if (change === undefined) return entry;
    const reason = refusal(r, change);
    if (reason !== undefined && !r.config.disableConfChangeValidation) {
      r.logger.info(
        () =>
          `${hex(r.id)} ignoring conf change ${describeConfChange(change)} at config ${describeTrackerConfig(r.tracker.config)}: ${reason}`,
      );
      return { term: 0, index: 0, type: EntryType.EntryNormal, data: refusedConfChangeData };
    }
    r.pendingConfIndex = r.log.lastIndex() + i + 1;
    return entry;
  });
}

function refusal(r: Raft, change: AnyConfChange): string | undefined {
  if (r.pendingConfIndex > r.log.applied) {
    return `possible unapplied conf change at index ${r.pendingConfIndex} (applied to ${r.log.applied})`;
  }
  const joint = r.tracker.config.voters.outgoing.size > 0;
  const leaves = asV2(change).changes.length === 0;
  if (joint && !leaves) return "must transition out of joint config first";
  if (!joint && leaves) return "not in joint state; refusing empty conf change";
  return undefined;
}
