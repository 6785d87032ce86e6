/** Pure: no clock, no I/O, no randomness. */
import { type Service, type Task, TaskState } from "@starling/api";
import type { Plan } from "../plan.ts";
import { isWanted, type Slot, type SlotKey } from "../slot.ts";

/** The tasks of a job's present iteration; those of earlier ones, which an update has ended, are to be removed. */
export function presentIteration(service: Service, tasks: Iterable<Task>, plan: Plan): Task[] {
  const present = service.jobStatus?.jobIteration.index ?? 0;
  const kept: Task[] = [];
  for (const task of tasks) {
    if ((task.jobIteration?.index ?? 0) === present) kept.push(task);
    else if (task.desiredState < TaskState.REMOVE) plan.desire.push({ taskId: task.id, state: TaskState.REMOVE });
  }
  return kept;
}

/**
 * Slots 0..TotalCompletions-1 of a replicated job, as many at a time as MaxConcurrent says (0: all at once). A slot is
 * begun once: it completes, is restarted by the service's policy, or is given up with that.
 */
export function reconcileReplicatedJob(service: Service, slots: ReadonlyMap<SlotKey, Slot>, plan: Plan): void {
  const { totalCompletions = 0, maxConcurrent = 0 } = service.spec.replicatedJob ?? {};
  const active = [...slots.values()].filter((slot) => slot.tasks.some(isWanted)).length;
  let room = maxConcurrent > 0 ? maxConcurrent - active : totalCompletions;
  for (let slot = 0; slot < totalCompletions && room > 0; slot++) {
    if (slots.has(slot)) continue;
    plan.create.push({ slot, desiredState: TaskState.COMPLETE });
    room--;
  }
}
