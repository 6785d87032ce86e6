/** Pure: no clock, no I/O, no randomness. */
import { type Task, TaskState, TaskState_names } from "./gen/messages.js";

/** The task ended: it left RUNNING (or never came there) and will not run again. */
export function isTerminal(state: TaskState): boolean {
  return state > TaskState.RUNNING;
}

/** Status message of a task that a manager rejects where it is, since its node changed. Swarm's words. */
export const enforcedMessage = "task rejected by constraint enforcer";

/**
 * The task is over, and nothing of it is left on its node. One that a manager rejected while it ran is over at once, but its
 * container is there until the node, by a report, says otherwise: only then does its status have `appliedAt`.
 */
export function hasStopped({ nodeId, status }: Task): boolean {
  const { state, message, appliedAt } = status;
  if (!isTerminal(state)) return false;
  return state !== TaskState.REJECTED || message !== enforcedMessage || appliedAt !== undefined || nodeId === "";
}

/** The task may hold a container on its node: assigned, not stopped. */
export function isOnNode(task: Task): boolean {
  return task.nodeId !== "" && task.status.state >= TaskState.ASSIGNED && !hasStopped(task);
}

/** The task is to stop or to go: its desired state is beyond RUNNING (COMPLETE, for jobs). */
export function isStopRequested(task: Task): boolean {
  return task.desiredState > TaskState.COMPLETE;
}

/** `512` → `"RUNNING"`; a number that is no state gives its digits. */
export function taskStateName(state: number): string {
  return TaskState_names[state] ?? String(state);
}
