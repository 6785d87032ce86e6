import {
  type Control,
  GetTaskResponse,
  isTaskDirty,
  type ListTasksRequest_Filters,
  ListTasksResponse,
  RemoveTaskResponse,
  runtimeName,
  type Task,
  taskName,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { required } from "@starling/api/validation";
import { all, type By, byIdPrefix, byNode, byService, or, type ReadTx } from "@starling/store";
import type { ControlDeps } from "./deps.ts";
import { found } from "./errors.ts";
import { isAmong, passesEach } from "./filters.ts";

type TaskMethods = "getTask" | "listTasks" | "removeTask";

export function taskHandlers({ store, log }: ControlDeps): Pick<Handlers<typeof Control>, TaskMethods> {
  return {
    async getTask({ taskId }) {
      required(taskId, "task id");
      const task = found(await store.read((tx) => tx.tasks.get(taskId)), "task", taskId);
      return GetTaskResponse.create({ task });
    },

    async listTasks({ filters }) {
      const tasks = await store.read((tx) => {
        const narrowed = tx.tasks.find(narrowest(filters));
        return filters ? narrowed.filter((task) => passes(tx, filters, task)) : narrowed;
      });
      return ListTasksResponse.create({ tasks });
    },

    async removeTask({ taskId }) {
      required(taskId, "task id");
      await store.update((tx) => {
        found(tx.tasks.get(taskId), "task", taskId);
        tx.tasks.delete(taskId);
      });
      log.info("task removed by request", { "task.id": taskId });
      return RemoveTaskResponse.create();
    },
  };
}

function narrowest(filters: ListTasksRequest_Filters | undefined): By<"task"> {
  if (filters === undefined) return all;
  if (filters.idPrefixes.length > 0) return or(...filters.idPrefixes.map(byIdPrefix));
  if (filters.serviceIds.length > 0) return or(...filters.serviceIds.map(byService));
  if (filters.nodeIds.length > 0) return or(...filters.nodeIds.map(byNode));
  return all;
}

function passes(tx: ReadTx, filters: ListTasksRequest_Filters, task: Task): boolean {
  return (
    passesEach(filters, { id: task.id, name: taskName(task), labels: task.serviceAnnotations.labels }) &&
    isAmong(task.serviceId, filters.serviceIds) &&
    isAmong(task.nodeId, filters.nodeIds) &&
    isAmong(task.desiredState, filters.desiredStates) &&
    isAmong(runtimeName(task.spec) ?? "", filters.runtimes) &&
    (!filters.upToDate || isUpToDate(tx, task))
  );
}

function isUpToDate(tx: ReadTx, task: Task): boolean {
  const service = tx.services.get(task.serviceId);
  return service !== undefined && !isTaskDirty(service, task, tx.nodes.get(task.nodeId));
}
