/** Pure: no clock, no I/O, no randomness. */
import {
  isTaskDirty,
  moveLabelOf,
  UpdateConfig_UpdateOrder as Order,
  type Service,
  type Task,
  TaskState,
} from "@starling/api";
import { inSteps, type Steps, setInSteps } from "@starling/base";
import type { Observed, Plan } from "../plan.ts";
import { isWanted, type Slot, takesNewTasks } from "../slot.ts";
import { isUpdating, updateConfigOf } from "../update/plan.ts";

/**
 * Replaces tasks that the scheduler wants elsewhere, as an update would: start-first the new one beside the old, else the old one
 * ends and the new one is held until it has. A wish that came too late is dropped: an update is under way, the slot is
 * changing, or the node does not take tasks any more.
 */
export function* planMoves(service: Service, slots: Iterable<Slot>, observed: Observed, plan: Plan): Steps<void> {
  const leaving = yield* setInSteps(plan.desire, (step) => step.taskId);
  const filled = yield* setInSteps(plan.create, (step) => step.slot);
  const updating = isUpdating(service) || plan.service !== undefined;
  const startFirst = updateConfigOf(service).order === Order.START_FIRST;
  yield* inSteps(slots, (slot) => {
    for (const task of slot.tasks) {
      if (!isWanted(task) || leaving.has(task.id)) continue;
      const alone = !filled.has(slot.key) && slot.tasks.filter(isWanted).length === 1;
      if (alone && moveLabelOf(task, "movedTo") !== undefined) plan.moves.push({ t: "stay", taskId: task.id });
      const nodeId = moveLabelOf(task, "moveTo");
      if (nodeId === undefined) continue;
      const may = alone && !updating && mayMove(service, task, nodeId, observed);
      plan.moves.push(
        may ? { t: "move", slot: slot.key, taskId: task.id, nodeId, startFirst } : { t: "stay", taskId: task.id },
      );
    }
  });
}

function mayMove(service: Service, task: Task, nodeId: string, observed: Observed): boolean {
  const from = observed.node(task.nodeId);
  return (
    task.status.state === TaskState.RUNNING &&
    nodeId !== task.nodeId &&
    takesNewTasks(from) &&
    takesNewTasks(observed.node(nodeId)) &&
    !isTaskDirty(service, task, from)
  );
}
