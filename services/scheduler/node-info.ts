/** Pure: no clock, no I/O, no randomness. */
import {
  consumeGeneric,
  type GenericResource,
  isStopRequested,
  type Node,
  type PortConfig,
  PortConfig_PublishMode,
  selectGeneric,
  type Task,
} from "@starling/api";
import type { Millis } from "@starling/base";
import type { Listed } from "./node-list.ts";

/** Failures of a service version on a node that put the node last in the order, and for how long they count. */
export const FAILURES_MAX = 5;
export const FAILURES_WINDOW_MS: Millis = 5 * 60_000;

export interface NodeInfoListener {
  /** `activeTasks` has changed, and from what. */
  activeChanged(info: NodeInfo, before: number): void;
  /** What tasks on it reserve has changed. */
  booked(info: NodeInfo): void;
  /** Something of it is free that was not. */
  freed(info: NodeInfo): void;
  /** Its object is another one, or gone. */
  nodeChanged(info: NodeInfo): void;
}

/**
 * One node as the scheduler sees it: its object, and what the tasks on it use up. Tasks hold their reservations until
 * they end, also while they are being shut down; counts are of wanted tasks only.
 */
export class NodeInfo implements Listed<NodeInfo> {
  readonly id: string;
  list: unknown;
  next: NodeInfo | undefined;
  previous: NodeInfo | undefined;
  /** Undefined while tasks name a node whose object is not known. */
  node: Node | undefined;
  nanoCpusLeft = 0;
  memoryBytesLeft = 0;
  genericLeft: readonly GenericResource[] = [];
  /** Tasks on the node that someone wants to run. Changed by `#countActive`. */
  activeTasks = 0;
  readonly #tasks = new Map<string, Task>();
  readonly #activeByService = new Map<string, number>();
  /** Made when there is one: of very many nodes most have none. */
  #hostPorts: Map<string, number> | undefined;
  /** Times of failures, oldest first, by service and spec version. Made when there is one. */
  #failures: Map<string, Millis[]> | undefined;

  readonly #listener: NodeInfoListener | undefined;

  constructor(id: string, listener?: NodeInfoListener) {
    this.id = id;
    this.#listener = listener;
  }

  get taskCount(): number {
    return this.#tasks.size;
  }

  /** Wanted tasks of the service here; tasks without a service are on their own. */
  activeTasksOf(serviceId: string): number {
    if (serviceId === "") return 0;
    return this.#activeByService.get(serviceId) ?? 0;
  }

  setNode(node: Node | undefined): void {
    this.node = node;
    const resources = node?.description?.resources;
    this.nanoCpusLeft = resources?.nanoCpus ?? 0;
    this.memoryBytesLeft = resources?.memoryBytes ?? 0;
    for (const task of this.#tasks.values()) {
      this.nanoCpusLeft -= task.spec.resources?.reservations?.nanoCpus ?? 0;
      this.memoryBytesLeft -= task.spec.resources?.reservations?.memoryBytes ?? 0;
    }
    this.#countGeneric();
    this.#listener?.nodeChanged(this);
  }

  /** The generic resources that a task with this spec would be assigned here. */
  selectGeneric(task: Task): readonly GenericResource[] {
    const wanted = task.spec.resources?.reservations?.generic ?? [];
    return wanted.length === 0 ? task.assignedGenericResources : selectGeneric(this.genericLeft, wanted);
  }

  /** Books the task, or its newer state in place of the older. */
  setTask(task: Task): void {
    const old = this.#tasks.get(task.id);
    if (old !== undefined) {
      this.#tasks.set(task.id, task);
      this.#countActive(task.serviceId, Number(!isStopRequested(task)) - Number(!isStopRequested(old)));
      return;
    }
    this.#tasks.set(task.id, task);
    this.#countActive(task.serviceId, Number(!isStopRequested(task)));
    this.#book(task, 1);
  }

  /** Whether the task was booked, and now is not. */
  removeTask(taskId: string): boolean {
    const task = this.#tasks.get(taskId);
    if (task === undefined) return false;
    this.#tasks.delete(taskId);
    this.#countActive(task.serviceId, -Number(!isStopRequested(task)));
    this.#book(task, -1);
    this.#listener?.freed(this);
    return true;
  }

  usesHostPort(port: PortConfig): boolean {
    return this.#hostPorts?.has(portKey(port)) ?? false;
  }

  addFailure(task: Task, now: Millis): void {
    this.#failures ??= new Map();
    for (const [key, times] of this.#failures) {
      if (now - times.at(-1)! >= FAILURES_WINDOW_MS) this.#failures.delete(key);
    }
    const key = failureKey(task);
    const recent = (this.#failures.get(key) ?? []).filter((time) => now - time < FAILURES_WINDOW_MS);
    this.#failures.set(key, [...recent, now]);
  }

  /** Failures of the task's service version here within the window; 0 while they are too few to matter. */
  failuresOf(task: Task, now: Millis): number {
    if (this.#failures === undefined) return 0;
    const times = this.#failures.get(failureKey(task)) ?? [];
    const recent = times.filter((time) => now - time < FAILURES_WINDOW_MS).length;
    return recent >= FAILURES_MAX ? recent : 0;
  }

  /** When the last failure of the task's service version here is no longer within the window; 0 when there was none. */
  failureForgottenAt(task: Task): Millis {
    const last = this.#failures?.get(failureKey(task))?.at(-1);
    return last === undefined ? 0 : last + FAILURES_WINDOW_MS;
  }

  #book(task: Task, sign: 1 | -1): void {
    const reservations = task.spec.resources?.reservations;
    this.nanoCpusLeft -= sign * (reservations?.nanoCpus ?? 0);
    this.memoryBytesLeft -= sign * (reservations?.memoryBytes ?? 0);
    for (const port of hostPortsOf(task)) {
      this.#hostPorts ??= new Map();
      const uses = (this.#hostPorts.get(portKey(port)) ?? 0) + sign;
      if (uses > 0) this.#hostPorts.set(portKey(port), uses);
      else this.#hostPorts.delete(portKey(port));
    }
    if (task.assignedGenericResources.length > 0) this.#countGeneric();
    this.#listener?.booked(this);
  }

  #countActive(serviceId: string, by: number): void {
    if (by === 0) return;
    this.activeTasks += by;
    this.#listener?.activeChanged(this, this.activeTasks - by);
    if (by < 0) this.#listener?.freed(this);
    if (serviceId === "") return;
    const left = this.activeTasksOf(serviceId) + by;
    if (left > 0) this.#activeByService.set(serviceId, left);
    else this.#activeByService.delete(serviceId);
  }

  #countGeneric(): void {
    const offered = this.node?.description?.resources?.generic ?? [];
    if (offered.length === 0) {
      this.genericLeft = offered;
      return;
    }
    const taken = [...this.#tasks.values()].flatMap((task) => task.assignedGenericResources);
    this.genericLeft = consumeGeneric(offered, taken);
  }
}

/** Ports that the task binds on its host by number. */
export function hostPortsOf(task: Task): readonly PortConfig[] {
  const ports = task.endpoint?.ports;
  if (ports === undefined || ports.length === 0) return noPorts;
  return ports.filter((port) => port.publishMode === PortConfig_PublishMode.HOST && port.publishedPort !== 0);
}

const noPorts: readonly PortConfig[] = [];

function portKey(port: PortConfig): string {
  return `${port.protocol}/${port.publishedPort}`;
}

function failureKey(task: Task): string {
  return `${task.serviceId} ${task.specVersion?.index ?? 0}`;
}
