import { type Cluster, moveLabelOf, type Service, type Task, TaskState, withMoveLabel } from "@starling/api";
import { all, type MemoryStore, type WriteTx } from "@starling/store";
import { newTask } from "./new-task.ts";
import type { Move, Plan, PlannedTask, ServiceChange } from "./plan.ts";

/** One change of a plan. */
type Step =
  | { readonly t: "service"; readonly change: ServiceChange }
  | { readonly t: "desire"; readonly taskId: string; readonly state: TaskState }
  | { readonly t: "create"; readonly planned: PlannedTask }
  | Move;

/**
 * Carries out a plan in as many transactions as its size needs, checking each step against the newest state: a task that is
 * gone or further than planned is left, and nothing is created for a service that changed meanwhile (its change brings the
 * next pass).
 */
export async function applyPlan(store: MemoryStore, service: Service, plan: Plan, context: Context): Promise<void> {
  await store.batch(stepsOf(plan), (tx, step) => {
    if (step.t === "service") changeService(tx, service, step.change);
    else if (step.t === "desire") raiseDesired(tx, step.taskId, step.state);
    else if (step.t === "create") createTask(tx, service, step.planned, context);
    else if (step.t === "move") moveTask(tx, service, step, context);
    else letStay(tx, step.taskId);
  });
}

function* stepsOf(plan: Plan): Generator<Step> {
  if (plan.service) yield { t: "service", change: plan.service };
  for (const { taskId, state } of plan.desire) yield { t: "desire", taskId, state };
  for (const planned of plan.create) yield { t: "create", planned };
  yield* plan.moves;
}

interface Context {
  readonly newId: () => string;
  readonly nowMs: number;
}

function createTask(tx: WriteTx, planned: Service, step: PlannedTask, context: Context): void {
  const service = tx.services.get(planned.id);
  if (!service || service.specVersion?.index !== planned.specVersion?.index) return;
  tx.tasks.create(taskOf(tx, service, step, context));
}

function taskOf(tx: WriteTx, service: Service, { slot, desiredState }: PlannedTask, context: Context): Task {
  const cluster: Cluster | undefined = tx.clusters.find(all)[0];
  return newTask({ id: context.newId(), service, cluster, slot, desiredState, nowMs: context.nowMs });
}

/** In one transaction, so that no task is moved twice and none ends without a successor. */
function moveTask(tx: WriteTx, planned: Service, move: Move & { t: "move" }, context: Context): void {
  const { slot, taskId, nodeId, startFirst } = move;
  const service = tx.services.get(planned.id);
  const task: Task | undefined = tx.tasks.get(taskId);
  if (!service || service.specVersion?.index !== planned.specVersion?.index) return;
  if (!task || task.desiredState > TaskState.RUNNING || moveLabelOf(task, "moveTo") !== nodeId) return;
  const message = `rebalanced: moved to use node ${tx.nodes.get(nodeId)?.description?.hostname || nodeId}`;
  const desiredState = startFirst ? task.desiredState : TaskState.SHUTDOWN;
  tx.tasks.update(withMoveLabel({ ...task, desiredState, status: { ...task.status, message } }, "movedTo", nodeId));
  const successor = { slot, desiredState: startFirst ? TaskState.RUNNING : TaskState.READY };
  tx.tasks.create(withMoveLabel(taskOf(tx, service, successor, context), "wish", nodeId));
}

/** A task that was to be moved is not. */
function letStay(tx: WriteTx, taskId: string): void {
  const task: Task | undefined = tx.tasks.get(taskId);
  if (!task || task.desiredState > TaskState.RUNNING) return;
  const begun = moveLabelOf(task, "movedTo") !== undefined;
  const status = begun
    ? { ...task.status, message: "not moved: the task that was to replace it did not run" }
    : task.status;
  tx.tasks.update(withMoveLabel({ ...task, status }, undefined));
}

/** A task that is to stop before anything was allocated for it has ended with that: nobody else will look at it. */
function raiseDesired(tx: WriteTx, taskId: string, state: TaskState): void {
  const task: Task | undefined = tx.tasks.get(taskId);
  if (!task || task.desiredState >= state) return;
  const isOver = state === TaskState.SHUTDOWN && task.status.state === TaskState.NEW;
  const status = isOver ? { ...task.status, state: TaskState.SHUTDOWN, err: "" } : task.status;
  tx.tasks.update({ ...task, status, desiredState: state });
}

function changeService(tx: WriteTx, planned: Service, change: ServiceChange): void {
  const service = tx.services.get(planned.id);
  if (!service || service.specVersion?.index !== planned.specVersion?.index) return;
  const { rollback } = change;
  tx.services.update({
    ...service,
    updateStatus: change.updateStatus,
    ...(rollback
      ? {
          spec: rollback.spec,
          specVersion: rollback.specVersion,
          previousSpec: undefined,
          previousSpecVersion: undefined,
        }
      : {}),
  });
}

/** Everything of a service that no longer exists: to be removed. */
export async function removeTasks(store: MemoryStore, tasks: readonly Task[]): Promise<void> {
  await store.batch(tasks, (tx, { id }) => raiseDesired(tx, id, TaskState.REMOVE));
}
