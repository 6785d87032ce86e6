/** Pure: no clock, no I/O, no randomness. */
import {
  type Constraint,
  type Node,
  NodeSpec_Availability,
  NodeStatus_State,
  nodeMatches,
  type Service,
  TaskState,
} from "@starling/api";
import { inSteps, type Steps } from "@starling/base";
import type { Plan } from "../plan.ts";
import { shouldRestart } from "../restart/policy.ts";
import { beginning, endedByItself, isWanted, type Slot, type SlotKey, takesNewTasks } from "../slot.ts";

/**
 * One task (of a job: one completion) on every node that is up, not drained and matches; a paused node keeps what it has
 * and gets nothing new.
 */
export function* reconcileGlobal(
  service: Service,
  nodes: readonly Node[],
  constraints: readonly Constraint[],
  slots: ReadonlyMap<SlotKey, Slot>,
  plan: Plan,
): Steps<void> {
  const known = new Set<SlotKey>();
  yield* inSteps(nodes, (node) => {
    known.add(node.id);
    const slot = slots.get(node.id);
    const fits =
      node.spec.availability !== NodeSpec_Availability.DRAIN &&
      node.status.state !== NodeStatus_State.DOWN &&
      nodeMatches(constraints, node);
    if (!fits) giveUp(slot, plan);
    else if (
      takesNewTasks(node) &&
      (slot === undefined || (!slot.tasks.some(isWanted) && !restsByPolicy(slot, service)))
    ) {
      plan.create.push({ slot: node.id, desiredState: beginning(slot, service) });
    }
  });
  yield* inSteps(slots.values(), (slot) => {
    if (!known.has(slot.key)) giveUp(slot, plan);
  });
}

/** The last task ended by itself and its policy lets it rest; else it was ended with its node, which is back. */
function restsByPolicy(slot: Slot, service: Service): boolean {
  const last = slot.tasks.at(-1)!;
  return endedByItself(last) && !shouldRestart(last, slot, service);
}

function giveUp(slot: Slot | undefined, plan: Plan): void {
  for (const task of slot?.tasks ?? []) {
    if (isWanted(task)) plan.desire.push({ taskId: task.id, state: TaskState.SHUTDOWN });
  }
}
