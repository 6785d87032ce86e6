import { type Cluster, type Service, type Task, TaskState } from "@starling/api";
import { all, type MemoryStore, type WriteTx } from "@starling/store";
import { newTask } from "./new-task.ts";
import type { Plan, PlannedTask, ServiceChange } from "./plan.ts";

/** One change of a plan. */
type Step =
  | { readonly t: "service"; readonly change: ServiceChange }
  | { readonly t: "desire"; readonly taskId: string; readonly state: TaskState }
  | { readonly t: "create"; readonly planned: PlannedTask };

/**
 * Carries out a plan in as many transactions as its size needs, checking each step against the newest state: a task that is
 * gone or further than planned is left, and nothing is created for a service that changed meanwhile (its change brings the
 * next pass).
 */
export async function applyPlan(
  store: MemoryStore,
  service: Service,
  plan: Plan,
  context: { readonly newId: () => string; readonly nowMs: number },
): Promise<void> {
  await store.batch(stepsOf(plan), (tx, step) => {
    if (step.t === "service") changeService(tx, service, step.change);
    else if (step.t === "desire") raiseDesired(tx, step.taskId, step.state);
    else createTask(tx, service, step.planned, context);
  });
}

function* stepsOf(plan: Plan): Generator<Step> {
  if (plan.service) yield { t: "service", change: plan.service };
  for (const { taskId, state } of plan.desire) yield { t: "desire", taskId, state };
  for (const planned of plan.create) yield { t: "create", planned };
}

function createTask(
  tx: WriteTx,
  planned: Service,
  { slot, desiredState }: PlannedTask,
  context: { readonly newId: () => string; readonly nowMs: number },
): void {
  const service = tx.services.get(planned.id);
  if (!service || service.specVersion?.index !== planned.specVersion?.index) return;
  const cluster: Cluster | undefined = tx.clusters.find(all)[0];
  tx.tasks.create(newTask({ id: context.newId(), service, cluster, slot, desiredState, nowMs: context.nowMs }));
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
