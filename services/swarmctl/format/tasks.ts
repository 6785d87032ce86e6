/** Pure: no clock, no I/O, no randomness. */

import { type Node, type Service, type Task, TaskState, taskName, taskStateName, timestampMs } from "@starling/api";
import type { ListView } from "./list.ts";
import { formatAge, formatTimestamp } from "./time.ts";
import { nodeTrouble, waitsFor } from "./waiting.ts";
import { formatPort, placeOf, shortId, shortImage, titled } from "./words.ts";

/** Names for the ids in tasks; an id without a name stands for itself. */
export interface TaskNames {
  /** A service that is gone is known by the name that its task has of it. */
  service(id: string, task?: Task): string;
  node(id: string): string;
  /** What is wrong with a node; "" when nothing is, or nothing is known. */
  trouble(nodeId: string): string;
  /** The service is a replicated job: its slots count from 0. */
  slotted(serviceId: string): boolean;
}

export function namesOf(services: readonly Service[], nodes: readonly Node[]): TaskNames {
  const byService = new Map(services.map(({ id, spec }) => [id, spec]));
  const byNode = new Map(nodes.map(({ id, description }) => [id, description?.hostname]));
  const troubles = new Map(nodes.map((node) => [node.id, nodeTrouble(node)]));
  return {
    service: (id, task) => byService.get(id)?.annotations.name || task?.serviceAnnotations.name || id,
    node: (id) => byNode.get(id) || id,
    trouble: (id) => troubles.get(id) ?? "",
    slotted: (id) => byService.get(id)?.replicatedJob !== undefined,
  };
}

export const idsAsNames: TaskNames = { service: (id) => id, node: (id) => id, trouble: () => "", slotted: () => false };

/** `web.1`; tasks of global services have their node's id for a slot. */
export function shortTaskName(task: Task, names: TaskNames): string {
  return `${names.service(task.serviceId, task)}.${placeOf(task, names.slotted(task.serviceId))}`;
}

/** By slot; within one the newest first, so that history hangs below what is current. */
export function sortTasks(tasks: readonly Task[], names: TaskNames): Task[] {
  const key = (task: Task) => {
    const numbered = task.slot > 0 || names.slotted(task.serviceId);
    return `${names.service(task.serviceId, task)}.${numbered ? "" : names.node(task.nodeId)}`;
  };
  const created = ({ meta, status }: Task) => {
    const time = meta.createdAt ?? status.timestamp;
    return time ? timestampMs(time) : 0;
  };
  return tasks.toSorted(
    (a, b) =>
      key(a).localeCompare(key(b)) ||
      a.slot - b.slot ||
      created(b) - created(a) ||
      b.meta.version.index - a.meta.version.index,
  );
}

/** A table of tasks as `service ps` shows it; `tasks` must be sorted by `sortTasks`. */
export function taskView(
  tasks: readonly Task[],
  names: TaskNames,
  options: { readonly nowMs: number; readonly whole?: boolean },
): ListView<Task> {
  const { nowMs, whole = false } = options;
  const isHistory = new Set(
    tasks.filter((task, i) => i > 0 && slotKey(task, names) === slotKey(tasks[i - 1]!, names)).map(({ id }) => id),
  );
  return {
    heading: ["ID", "NAME", "IMAGE", "NODE", "DESIRED STATE", "CURRENT STATE", "ERROR", "PORTS"],
    id: (task) => task.id,
    row: (task) => {
      const error = errorOf(task) || waitsFor(task, names.trouble(task.nodeId));
      return [
        shortId(task.id, whole),
        `${isHistory.has(task.id) ? " \\_ " : ""}${nameOf(task, names)}`,
        whole ? imageOf(task) : shortImage(imageOf(task)),
        names.node(task.nodeId),
        titled(taskStateName(task.desiredState)),
        `${titled(taskStateName(task.status.state))} ${formatAge(task.status.timestamp, nowMs)}${progressOf(task)}`,
        error && `"${whole || error.length <= errorLengthMax ? error : `${error.slice(0, errorLengthMax)}…`}"`,
        (task.status.portStatus?.ports ?? []).map(formatPort).join(","),
      ];
    },
    json: (task) => taskToJson(task, names),
  };
}

const errorLengthMax = 60;

export function taskToJson(task: Task, names: TaskNames): Record<string, unknown> {
  return {
    id: task.id,
    name: nameOf(task, names),
    image: imageOf(task),
    service: names.service(task.serviceId, task),
    serviceId: task.serviceId,
    node: names.node(task.nodeId),
    nodeId: task.nodeId,
    slot: task.slot,
    desiredState: taskStateName(task.desiredState),
    currentState: taskStateName(task.status.state),
    message: task.status.message,
    error: errorOf(task),
    waitsFor: errorOf(task) === "" ? waitsFor(task, names.trouble(task.nodeId)) : "",
    exitCode: task.status.state > TaskState.RUNNING ? (task.status.container?.exitCode ?? null) : null,
    updatedAt: formatTimestamp(task.status.timestamp),
  };
}

/** What went wrong, or keeps the task from a node. */
export function errorOf({ status }: Task): string {
  return status.err;
}

/** How far the pull of its image is: the node says so in the status' message. */
function progressOf({ status }: Task): string {
  const isPulling = status.state === TaskState.PREPARING && /^pulling \d+ %$/.test(status.message);
  return isPulling ? ` (${status.message})` : "";
}

function imageOf(task: Task): string {
  return task.spec.container?.image ?? "";
}

function nameOf(task: Task, names: TaskNames): string {
  return task.serviceId === "" ? taskName(task) : shortTaskName(task, names);
}

function slotKey(task: Task, names: TaskNames): string {
  return `${task.serviceId} ${placeOf(task, names.slotted(task.serviceId))}`;
}
