/** Pure: no clock, no I/O, no randomness. */
import { isJob, type Node, parseConstraints, type Service, type Task, TaskState } from "@starling/api";
import { reconcileGlobal } from "./global/reconcile.ts";
import { presentIteration, reconcileReplicatedJob } from "./jobs/reconcile.ts";
import { emptyPlan, type Observed, type Plan } from "./plan.ts";
import { reconcileReplicated } from "./replicated/reconcile.ts";
import { planRestarts, planStarts } from "./restart/plan.ts";
import { groupSlots, hasEnded, isLostNode, type Slot, type SlotKey, takesNewTasks } from "./slot.ts";
import { planUpdate } from "./update/plan.ts";

/** All that one pass changes for a service or job; undefined for a service whose mode is unknown. */
export function planService(
  service: Service,
  tasks: Iterable<Task>,
  nodes: readonly Node[],
  observed: Observed,
): Plan | undefined {
  const { spec } = service;
  const plan = emptyPlan();
  if (spec.replicated) {
    const slots = groupSlots(tasks, (task) => task.slot);
    const leaving = leavingSlots(tasks, (task) => task.slot, observed);
    reconcileReplicated(service, slots, plan);
    holdBehind(leaving, plan);
    planKept(service, slots, { ...observed, leaving }, plan);
    return plan;
  }
  if (spec.replicatedJob) {
    const slots = groupSlots(presentIteration(service, tasks, plan), (task) => task.slot);
    reconcileReplicatedJob(service, slots, plan);
    planKept(service, slots, observed, plan);
    return plan;
  }
  if (spec.global || spec.globalJob) {
    const present = spec.globalJob ? presentIteration(service, tasks, plan) : tasks;
    const slots = groupSlots(present, (task) => task.nodeId);
    const constraints = parseConstraints(spec.task.placement?.constraints ?? []);
    reconcileGlobal(service, nodes, constraints, slots, plan);
    planKept(service, slots, observed, plan, (slot) => takesNewTasks(observed.node(slot.key as string)));
    return plan;
  }
  return undefined;
}

/** Slots given up whose tasks still stop. */
function leavingSlots(tasks: Iterable<Task>, keyOf: (task: Task) => SlotKey, observed: Observed): ReadonlySet<SlotKey> {
  const slots = new Set<SlotKey>();
  for (const task of tasks) {
    const stops = task.desiredState >= TaskState.REMOVE && task.status.state >= TaskState.ASSIGNED && !hasEnded(task);
    if (stops && !isLostNode(observed.node(task.nodeId))) slots.add(keyOf(task));
  }
  return slots;
}

function holdBehind(leaving: ReadonlySet<SlotKey>, plan: Plan): void {
  for (const [at, step] of plan.create.entries()) {
    if (leaving.has(step.slot)) plan.create[at] = { ...step, desiredState: TaskState.READY };
  }
}

/**
 * What goes on in slots that the plan neither gives up nor fills anew. Restarts first: a slot whose task broke is replaced
 * by the current spec, so the update finds it clean. Jobs have no updates: a new spec is a new iteration. A global
 * service's slots on nodes that take no new tasks just now are updated when these do.
 */
function planKept(
  service: Service,
  slots: ReadonlyMap<SlotKey, Slot>,
  observed: Observed,
  plan: Plan,
  isUpdated: (slot: Slot) => boolean = () => true,
): void {
  const leaving = new Set(plan.desire.map((step) => step.taskId));
  const created = new Set(plan.create.map((step) => step.slot));
  const kept = [...slots.values()].filter(
    (slot) => !created.has(slot.key) && !slot.tasks.some((task) => leaving.has(task.id)),
  );
  planRestarts(service, kept, observed, plan);
  if (!isJob(service.spec)) planUpdate(service, kept.filter(isUpdated), observed, plan);
  planStarts(service, kept, observed, plan);
}
