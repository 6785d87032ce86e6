/** Pure: no clock, no I/O, no randomness. */
import {
  RestartPolicy_RestartCondition as Condition,
  durationMs,
  isJob,
  type Service,
  type Task,
  TaskState,
} from "@starling/api";
import { type Slot, stampMs } from "../slot.ts";

const defaultDelayMs = 5_000;

/** Pause between a task's end and the start of what replaces it (default 5 s). */
export function restartDelayMs(service: Service): number {
  return durationMs(service.spec.task.restart?.delay, defaultDelayMs);
}

/**
 * Whether `task`, which has ended in `slot`, is to be replaced: by its service's condition (default any) and the attempts
 * left. Attempts are counted per slot and spec version from the tasks kept there; the window counts back from the end.
 */
export function shouldRestart(task: Task, slot: Slot, service: Service): boolean {
  const policy = service.spec.task.restart;
  const condition = policy?.condition ?? Condition.ANY;
  if (condition === Condition.NONE) return false;
  // A job's task that has completed is done: there, any means on-failure.
  const onFailure = condition === Condition.ON_FAILURE || isJob(service.spec);
  if (onFailure && task.status.state === TaskState.COMPLETE) return false;
  if (policy === undefined || policy.maxAttempts === 0) return true;
  const windowMs = durationMs(policy.window, 0);
  const since = windowMs > 0 ? stampMs(task.status.appliedAt ?? task.status.timestamp) - windowMs : 0;
  const replacements = slot.tasks
    .filter((other) => other.specVersion?.index === task.specVersion?.index)
    .slice(1)
    .filter((other) => stampMs(other.meta.createdAt) >= since);
  return replacements.length < policy.maxAttempts;
}
