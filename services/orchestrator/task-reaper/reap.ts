/** Pure: no clock, no I/O, no randomness. */
import { type Service, type Task, TaskState, UpdateConfig_FailureAction } from "@starling/api";
import { byAge, hasEnded, isHeld } from "../slot.ts";
import { isFailedByUpdate, isUpdating, updateConfigOf } from "../update/plan.ts";

/**
 * Tasks of one slot (or node) whose record may go: beyond `historyLimit` (negative keeps all), oldest first, and only
 * those that have ended. A service with limited restarts keeps MaxAttempts + 1, since they are counted from the records.
 * Whatever the limit, this stays: what a slot came to (its last record, and the completion of a job), and what the planner
 * still asks for (see `isAskedFor`).
 */
export function surplusHistory(tasks: readonly Task[], service: Service | undefined, historyLimit: number): Task[] {
  const attempts = service?.spec.task.restart?.maxAttempts ?? 0;
  const limit = attempts > 0 ? Math.max(historyLimit, attempts + 1) : historyLimit;
  if (historyLimit < 0) return [];
  const past = tasks
    .filter((task) => hasEnded(task) && task.desiredState > TaskState.RUNNING && !isCompletion(task))
    .sort(byAge);
  const current = tasks.length - past.length;
  const keep = current > 0 ? Math.max(0, limit - 1) : Math.max(1, limit);
  const beyond = past.slice(0, Math.max(0, past.length - keep));
  return beyond.filter((task) => !isAskedFor(task, tasks, service));
}

/**
 * The task that a held one follows says when that may start. While an update goes on, its failures are counted, and the newest one
 * says when its slot is tried again.
 */
function isAskedFor(task: Task, tasks: readonly Task[], service: Service | undefined): boolean {
  const later = tasks.filter((other) => byAge(task, other) < 0);
  if (later.some(isHeld) && later.every((other) => isHeld(other) || !hasEnded(other))) return true;
  if (service === undefined || !isUpdating(service) || !isFailedByUpdate(task, service)) return false;
  const counted = updateConfigOf(service).failureAction !== UpdateConfig_FailureAction.CONTINUE;
  return counted || !later.some((other) => isFailedByUpdate(other, service));
}

function isCompletion({ desiredState, status }: Task): boolean {
  return desiredState === TaskState.COMPLETE && status.state === TaskState.COMPLETE;
}

/** Records that nothing needs: wanted gone and never begun or ended; or of no service and ended for good. */
export function isDone(task: Task): boolean {
  const { state } = task.status;
  if (task.desiredState === TaskState.REMOVE) return state < TaskState.ASSIGNED || hasEnded(task);
  return task.serviceId === "" && state >= TaskState.ORPHANED;
}
