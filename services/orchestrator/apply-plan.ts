import { type Cluster, type Service, type Task, TaskState } from "@starling/api";
import { all, type MemoryStore, type WriteTx } from "@starling/store";
import { newTask } from "./new-task.ts";
import type { Plan, PlannedTask, ServiceChange } from "./plan.ts";

/** Creations in one transaction: a task is some 500 bytes, a transaction at most 1.5 MiB. */
const tasksPerTransaction = 200;

/**
 * Carries out a plan, checking each step against the newest state: a task that is gone or further than planned is left,
 * and nothing is created for a service that changed meanwhile (its change brings the next pass).
 */
export async function applyPlan(
  store: MemoryStore,
  service: Service,
  plan: Plan,
  context: { readonly newId: () => string; readonly nowMs: number },
): Promise<void> {
  const first = plan.create.slice(0, tasksPerTransaction);
  const writes = [
    store.update((tx) => {
      if (plan.service) changeService(tx, service, plan.service);
      for (const step of plan.desire) raiseDesired(tx, step.taskId, step.state);
      createTasks(tx, service, first, context);
    }),
  ];
  for (let at = tasksPerTransaction; at < plan.create.length; at += tasksPerTransaction) {
    const some = plan.create.slice(at, at + tasksPerTransaction);
    writes.push(store.update((tx) => createTasks(tx, service, some, context)));
  }
  await Promise.all(writes);
}

function createTasks(
  tx: WriteTx,
  planned: Service,
  steps: readonly PlannedTask[],
  context: { readonly newId: () => string; readonly nowMs: number },
): void {
  if (steps.length === 0) return;
  const service = tx.services.get(planned.id);
  if (!service || service.specVersion?.index !== planned.specVersion?.index) return;
  const cluster: Cluster | undefined = tx.clusters.find(all)[0];
  for (const { slot, desiredState } of steps) {
    tx.tasks.create(newTask({ id: context.newId(), service, cluster, slot, desiredState, nowMs: context.nowMs }));
  }
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
export function removeTasksOf(tx: WriteTx, tasks: readonly Task[]): void {
  for (const task of tasks) raiseDesired(tx, task.id, TaskState.REMOVE);
}
