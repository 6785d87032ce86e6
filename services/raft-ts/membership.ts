/** Pure: no clock, no I/O, no randomness. */
import { Changer, type Membership } from "./confchange/changer.ts";
import { asV2, entersJoint, leavesJoint } from "./confchange/conf-change.ts";
import { mustBeEquivalent, restoreMembership } from "./confchange/restore.ts";
import { panic } from "./logger.ts";
import { hex } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { bcastAppend, maybeCommit, maybeSendAppend } from "./replicate.ts";
import { becomeFollower } from "./roles.ts";
import { describeTrackerConfig } from "./tracker/tracker.ts";
import { type AnyConfChange, type ConfState, None, StateType } from "./types.ts";

function changer(r: Raft): Changer {
  const { inflightMsgsMax, inflightBytesMax } = r.tracker;
  return new Changer({ inflightMsgsMax, inflightBytesMax, lastIndex: r.log.lastIndex() });
}

/** A committed conf change takes effect. A change that the membership cannot take stops the node. */
export function applyConfChange(r: Raft, change: AnyConfChange): ConfState {
  const cc = asV2(change);
  let next: Membership;
  try {
    const joint = entersJoint(cc);
    if (leavesJoint(cc)) next = changer(r).leaveJoint(r.tracker);
    else if (joint !== undefined) next = changer(r).enterJoint(r.tracker, cc.changes, joint.autoLeave);
    else next = changer(r).simple(r.tracker, cc.changes);
  } catch (err) {
    panic(r.logger, () => `cannot apply conf change to ${describeTrackerConfig(r.tracker.config)}: ${text(err)}`);
  }
  return switchTo(r, next);
}

/** Take over the membership of a snapshot, or of storage at the start. */
export function restoreConfState(r: Raft, confState: ConfState): void {
  let next: Membership;
  try {
    next = restoreMembership(changer(r), confState);
  } catch (err) {
    panic(r.logger, () => `unable to restore config: ${text(err)}`);
  }
  const result = switchTo(r, next);
  try {
    mustBeEquivalent(confState, result);
  } catch (err) {
    panic(r.logger, () => text(err));
  }
}

function text(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

/** Use `next` from now on, and act on what that means for a leader. */
function switchTo(r: Raft, next: Membership): ConfState {
  r.tracker.switchTo(next.config, next.progress);
  r.logger.info(() => `${hex(r.id)} switched to configuration ${describeTrackerConfig(r.tracker.config)}`);
  const confState = r.tracker.confState();
  const own = r.tracker.progress.get(r.id);
  r.isLearner = own?.isLearner ?? false;

  if (r.state !== StateType.StateLeader) return confState;
  if (own === undefined || own.isLearner) {
    // The leader was removed or demoted.
    if (r.config.stepDownOnRemoval) becomeFollower(r, r.term, None);
    return confState;
  }
  if (confState.voters.length === 0) return confState;

  if (maybeCommit(r)) {
    // A smaller quorum may have committed more.
    bcastAppend(r);
  } else {
    // Probe new members now rather than with the next heartbeat.
    for (const [id] of r.tracker.ordered) if (id !== r.id) maybeSendAppend(r, id, false);
  }
  if (r.leadTransferee !== None && !r.tracker.isVoter(r.leadTransferee)) r.leadTransferee = None;
  return confState;
}
