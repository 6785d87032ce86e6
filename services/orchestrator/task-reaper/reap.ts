/** Pure: no clock, no I/O, no randomness. */
import { type Service, type Task, TaskState } from "@starling/api";
import { hasEnded, stampMs } from "../slot.ts";

/**
 * Tasks of one slot (or node) whose record may go: beyond `historyLimit` (negative keeps all), oldest first, and only
 * those that have ended. A service with limited restarts keeps MaxAttempts + 1, since they are counted from the records.
 * What a slot came to stays whatever the limit: its last record, and the completion of a job.
 */
export function surplusHistory(tasks: readonly Task[], service: Service | undefined, historyLimit: number): Task[] {
  const attempts = service?.spec.task.restart?.maxAttempts ?? 0;
  const limit = attempts > 0 ? Math.max(historyLimit, attempts + 1) : historyLimit;
  if (historyLimit < 0) return [];
  const past = tasks
    .filter((task) => hasEnded(task) && task.desiredState > TaskState.RUNNING && !isCompletion(task))
    .sort((a, b) => stampMs(a.meta.createdAt) - stampMs(b.meta.createdAt));
  const current = tasks.length - past.length;
  const keep = current > 0 ? Math.max(0, limit - 1) : Math.max(1, limit);
  return past.slice(0, Math.max(0, past.length - keep));
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
