/** Pure: no clock, no I/O, no randomness. */
import { isJob, type Node, parseConstraints, type Service, type Task, TaskState } from "@starling/api";
import { filterInSteps, inSteps, type Steps, setInSteps } from "@starling/base";
import { reconcileGlobal } from "./global/reconcile.ts";
import { presentIteration, reconcileReplicatedJob } from "./jobs/reconcile.ts";
import { emptyPlan, type Observed, type Plan } from "./plan.ts";
import { planMoves } from "./rebalance/plan.ts";
import { reconcileReplicated } from "./replicated/reconcile.ts";
import { planRestarts, planStarts } from "./restart/plan.ts";
import { groupSlots, hasEnded, isLostNode, type Slot, type SlotKey, takesNewTasks } from "./slot.ts";
import { planUpdate } from "./update/plan.ts";

/**
 * All that one pass changes for a service or job; undefined for a service whose mode is unknown. A pass looks at every task of
 * the service, so it is made in steps, on one snapshot: what has changed meanwhile is checked when the plan is applied.
 */
export function* planService(
  service: Service,
  tasks: readonly Task[],
  nodes: readonly Node[],
  observed: Observed,
): Steps<Plan | undefined> {
  const { spec } = service;
  const plan = emptyPlan();
  if (spec.replicated) {
    const slots = yield* groupSlots(tasks, (task) => task.slot);
    const leaving = yield* leavingSlots(tasks, observed);
    yield* reconcileReplicated(service, slots, plan);
    if (leaving.size > 0) yield* holdBehind(leaving, plan);
    yield* planKept(service, slots, { ...observed, leaving }, plan);
    return plan;
  }
  if (spec.replicatedJob) {
    const slots = yield* groupSlots(yield* presentIteration(service, tasks, plan), (task) => task.slot);
    yield* reconcileReplicatedJob(service, slots, plan);
    yield* planKept(service, slots, observed, plan);
    return plan;
  }
  if (spec.global || spec.globalJob) {
    const present = spec.globalJob ? yield* presentIteration(service, tasks, plan) : tasks;
    const slots = yield* groupSlots(present, (task) => task.nodeId);
    const constraints = parseConstraints(spec.task.placement?.constraints ?? []);
    yield* reconcileGlobal(service, nodes, constraints, slots, plan);
    yield* planKept(service, slots, observed, plan, (slot) => takesNewTasks(observed.node(slot.key as string)));
    return plan;
  }
  return undefined;
}

/** Slots given up whose tasks still stop. */
function* leavingSlots(tasks: readonly Task[], observed: Observed): Steps<ReadonlySet<SlotKey>> {
  const slots = new Set<SlotKey>();
  yield* inSteps(tasks, (task) => {
    const stops = task.desiredState >= TaskState.REMOVE && task.status.state >= TaskState.ASSIGNED && !hasEnded(task);
    if (stops && !isLostNode(observed.node(task.nodeId))) slots.add(task.slot);
  });
  return slots;
}

function* holdBehind(leaving: ReadonlySet<SlotKey>, plan: Plan): Steps<void> {
  yield* inSteps(plan.create.entries(), ([at, step]) => {
    if (leaving.has(step.slot)) plan.create[at] = { ...step, desiredState: TaskState.READY };
  });
}

/**
 * What goes on in slots that the plan neither gives up nor fills anew. Restarts first: a slot whose task broke is replaced
 * by the current spec, so the update finds it clean. Jobs have no updates: a new spec is a new iteration. A global
 * service's slots on nodes that take no new tasks just now are updated when these do.
 */
function* planKept(
  service: Service,
  slots: ReadonlyMap<SlotKey, Slot>,
  observed: Observed,
  plan: Plan,
  isUpdated?: (slot: Slot) => boolean,
): Steps<void> {
  const leaving = yield* setInSteps(plan.desire, (step) => step.taskId);
  const created = yield* setInSteps(plan.create, (step) => step.slot);
  const kept = yield* filterInSteps(
    slots.values(),
    (slot) => !created.has(slot.key) && !slot.tasks.some((task) => leaving.has(task.id)),
  );
  yield* planRestarts(service, kept, observed, plan);
  if (!isJob(service.spec)) {
    const updated = isUpdated === undefined ? kept : yield* filterInSteps(kept, isUpdated);
    yield* planUpdate(service, updated, observed, plan);
  }
  yield* planStarts(service, kept, observed, plan);
  if (service.spec.replicated) yield* planMoves(service, kept, observed, plan);
}
