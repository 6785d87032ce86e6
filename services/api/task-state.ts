/** Pure: no clock, no I/O, no randomness. */
import { type Task, TaskState, TaskState_names } from "./gen/messages.js";

/** The task ended: it left RUNNING (or never came there) and will not run again. */
export function isTerminal(state: TaskState): boolean {
  return state > TaskState.RUNNING;
}

/** The task may hold a container on its node: assigned, not ended. */
export function isOnNode(task: Task): boolean {
  return task.nodeId !== "" && task.status.state >= TaskState.ASSIGNED && !isTerminal(task.status.state);
}

/** The task is to stop or to go: its desired state is beyond RUNNING (COMPLETE, for jobs). */
export function isStopRequested(task: Task): boolean {
  return task.desiredState > TaskState.COMPLETE;
}

/** `512` → `"RUNNING"`; a number that is no state gives its digits. */
export function taskStateName(state: number): string {
  return TaskState_names[state] ?? String(state);
}
