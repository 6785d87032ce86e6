/** Pure: no clock, no I/O, no randomness. */
import { confChangeEntry } from "./confchange/conf-change.ts";
import { stepLeader } from "./leader.ts";
import type { Raft } from "./raft.ts";
import { describeTrackerConfig } from "./tracker/tracker.ts";
import { MessageType, newMessage, type Snapshot, StateType } from "./types.ts";

/** The application applied up to `index`, `size` bytes of entries. Leaves a joint configuration that is due. */
export function appliedTo(r: Raft, index: number, size: number): void {
  const applied = Math.max(index, r.log.applied);
  r.log.appliedTo(applied, size);

  if (!r.tracker.config.autoLeave || applied < r.pendingConfIndex || r.state !== StateType.StateLeader) return;
  // The empty payload counts nothing, so no size limit can refuse it. A leader transfer may; then either the new leader
  // leaves the joint configuration, or this one tries again with the next applied entry.
  const err = stepLeader(r, newMessage({ type: MessageType.MsgProp, entries: [confChangeEntry(undefined)] }));
  const config = describeTrackerConfig(r.tracker.config);
  if (err === undefined) {
    r.logger.info(() => `initiating automatic transition out of joint configuration ${config}`);
  } else {
    r.logger.debug(() => `not initiating automatic transition out of joint configuration ${config}: ${err.message}`);
  }
}

/** The snapshot is saved and restored. */
export function appliedSnapshot(r: Raft, snapshot: Snapshot): void {
  r.log.unstable.stableSnapTo(snapshot.metadata.index);
  appliedTo(r, snapshot.metadata.index, 0);
}
