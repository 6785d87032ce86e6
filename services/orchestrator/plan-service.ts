/** Pure: no clock, no I/O, no randomness. */
import { type Node, parseConstraints, type Service, type Task } from "@starling/api";
import { reconcileGlobal } from "./global/reconcile.ts";
import { emptyPlan, type Observed, type Plan } from "./plan.ts";
import { reconcileReplicated } from "./replicated/reconcile.ts";
import { planRestarts, planStarts } from "./restart/plan.ts";
import { groupSlots, type Slot } from "./slot.ts";
import { planUpdate } from "./update/plan.ts";

/** All that one pass changes for a replicated or global service; undefined for modes that other loops serve. */
export function planService(
  service: Service,
  tasks: Iterable<Task>,
  nodes: readonly Node[],
  observed: Observed,
): Plan | undefined {
  const plan = emptyPlan();
  if (service.spec.replicated) {
    const slots = groupSlots(tasks, (task) => task.slot);
    reconcileReplicated(service, slots, plan);
    const leaving = new Set(plan.desire.map((step) => step.taskId));
    const staying = [...slots.values()].filter((slot) => !slot.tasks.some((task) => leaving.has(task.id)));
    planKept(service, staying, observed, plan);
    return plan;
  }
  if (service.spec.global) {
    const slots = groupSlots(tasks, (task) => task.nodeId);
    const constraints = parseConstraints(service.spec.task.placement?.constraints ?? []);
    reconcileGlobal(nodes, constraints, slots, plan);
    const leaving = new Set(plan.desire.map((step) => step.taskId));
    const created = new Set(plan.create.map((step) => step.slot));
    const staying = [...slots.values()].filter(
      (slot) => !created.has(slot.key) && !slot.tasks.some((task) => leaving.has(task.id)),
    );
    planKept(service, staying, observed, plan);
    return plan;
  }
  return undefined;
}

/** Restarts first: a slot whose task broke is replaced by the current spec, so the update finds it clean. */
function planKept(service: Service, slots: readonly Slot[], observed: Observed, plan: Plan): void {
  planRestarts(service, slots, observed, plan);
  planUpdate(service, slots, observed, plan);
  planStarts(service, slots, observed, plan);
}
