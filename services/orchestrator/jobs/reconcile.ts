/** Pure: no clock, no I/O, no randomness. */
import { type Service, type Task, TaskState } from "@starling/api";
import { filterInSteps, inSteps, type Steps } from "@starling/base";
import type { Plan } from "../plan.ts";
import { isWanted, numbers, type Slot, type SlotKey } from "../slot.ts";

/** The tasks of a job's present iteration; those of earlier ones, which an update has ended, are to be removed. */
export function* presentIteration(service: Service, tasks: Iterable<Task>, plan: Plan): Steps<readonly Task[]> {
  const present = service.jobStatus?.jobIteration.index ?? 0;
  return yield* filterInSteps(tasks, (task) => {
    if ((task.jobIteration?.index ?? 0) === present) return true;
    if (task.desiredState < TaskState.REMOVE) plan.desire.push({ taskId: task.id, state: TaskState.REMOVE });
    return false;
  });
}

/**
 * Slots 0..TotalCompletions-1 of a replicated job, as many at a time as MaxConcurrent says (0: all at once). A slot is
 * begun once: it completes, is restarted by the service's policy, or is given up with that.
 */
export function* reconcileReplicatedJob(service: Service, slots: ReadonlyMap<SlotKey, Slot>, plan: Plan): Steps<void> {
  const { totalCompletions = 0, maxConcurrent = 0 } = service.spec.replicatedJob ?? {};
  const active = (yield* filterInSteps(slots.values(), (slot) => slot.tasks.some(isWanted))).length;
  let room = maxConcurrent > 0 ? maxConcurrent - active : totalCompletions;
  yield* inSteps(
    numbers(0, (slot) => slot < totalCompletions && room > 0),
    (slot) => {
      if (slots.has(slot)) return;
      plan.create.push({ slot, desiredState: TaskState.COMPLETE });
      room--;
    },
  );
}
