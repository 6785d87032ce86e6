/** Pure: no clock, no I/O, no randomness. */
import { isStopRequested, type Task, TaskState, TaskStatus, type Timestamp } from "@starling/api";
import type { WriteTx } from "@starling/store";
import { writeVolumeHome } from "./volume-home.ts";

/**
 * What the scheduler wants of one task:
 * - assign: it runs on `task.nodeId`, chosen when the node object was at `nodeVersion`
 * - explain: it stays PENDING, and `err` says why
 * - end: it is over before it was assigned
 */
export type Decision =
  | { readonly t: "assign"; readonly task: Task; readonly nodeVersion: number; readonly message: string }
  | { readonly t: "explain"; readonly task: Task; readonly err: string }
  | { readonly t: "end"; readonly task: Task };

export const CHOSEN = "scheduler assigned task to node";
export const CONFIRMED = "scheduler confirmed task can run on preassigned node";

/**
 * - written: the task as it stands now
 * - gone: the task does not exist any more
 * - outdated: task or node have changed since the decision; their events tell
 */
export type Outcome = { readonly t: "written"; readonly task: Task } | { readonly t: "gone" | "outdated" };

/** Checks a decision against the newest state and writes it. Networks and endpoint stay as the allocator left them. */
export function applyDecision(tx: WriteTx, decision: Decision, timestamp: Timestamp): Outcome {
  const task = tx.tasks.get(decision.task.id);
  if (task === undefined) return { t: "gone" };
  if (task.status.state !== TaskState.PENDING) return { t: "outdated" };
  switch (decision.t) {
    case "assign": {
      const { nodeId, assignedGenericResources } = decision.task;
      const node = tx.nodes.get(nodeId);
      const taken = task.nodeId !== "" && task.nodeId !== nodeId;
      if (taken || isStopRequested(task) || node?.meta.version.index !== decision.nodeVersion) return { t: "outdated" };
      const status = TaskStatus.create({ state: TaskState.ASSIGNED, timestamp, message: decision.message });
      writeVolumeHome(tx, task, nodeId);
      return written(tx, { ...task, nodeId, assignedGenericResources, status });
    }
    case "explain":
      if (task.status.err === decision.err || isStopRequested(task)) return { t: "written", task };
      return written(tx, { ...task, status: { ...task.status, timestamp, err: decision.err } });
    case "end":
      if (!isStopRequested(task)) return { t: "outdated" };
      return written(tx, { ...task, status: { ...task.status, timestamp, state: TaskState.SHUTDOWN, err: "" } });
  }
}

function written(tx: WriteTx, task: Task): Outcome {
  return { t: "written", task: tx.tasks.update(task) };
}
