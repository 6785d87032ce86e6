/** Pure: no clock, no I/O, no randomness. */
import { hasStopped, isStopRequested, type Node, type Task, TaskState } from "@starling/api";
import { LargeMap, type Millis } from "@starling/base";
import type { EventOf } from "@starling/store";
import type { NodeInfo } from "./node-info.ts";
import { NodeSet } from "./node-set.ts";
import { VolumeHomes } from "./volume-home.ts";
import { WaitingTasks } from "./waiting.ts";

/**
 * The scheduler's picture of the cluster: committed objects plus what it has decided itself. A task is
 * - waiting: PENDING, wanted, no node; left when `book` gives it one
 * - preassigned: PENDING, wanted, with a node that it was created for (global services)
 * - unwanted: PENDING, to be shut down before it was ever assigned
 * - booked: on a node's books, by decision or by its state (ASSIGNED … RUNNING, and REJECTED until its node has stopped it)
 * Tasks before PENDING and those that have stopped are not held.
 */
export class ClusterView {
  /** All nodes, also those that only tasks name. */
  readonly nodes = new NodeSet();
  readonly homes = new VolumeHomes();
  readonly waiting = new WaitingTasks();
  readonly preassigned = new Map<string, Task>();
  readonly unwanted = new Map<string, Task>();
  readonly #tasks = new LargeMap<Task>();
  readonly #booked = new LargeMap<NodeInfo>();
  /** Tasks that were preassigned: their failures say nothing about the scheduler's choice of node. */
  readonly #neverChosen = new Set<string>();

  /** Takes a node's new state. */
  setNode(node: Node): void {
    this.nodes.ensure(node.id).setNode(node);
  }

  removeNode(id: string): void {
    const info = this.nodes.get(id);
    if (info === undefined) return;
    info.setNode(undefined);
    if (info.taskCount === 0) this.nodes.delete(info);
  }

  /** Takes a task's new state; true when a pass may now place something that it could not before. */
  setTask(task: Task, now: Millis): boolean {
    const known = this.#tasks.get(task.id);
    if (known !== undefined && task.meta.version.index <= known.meta.version.index) return false;
    if (task.status.state < TaskState.PENDING) return false;
    if (hasStopped(task)) {
      if (known === undefined) return false;
      this.#countFailure(known, task, now);
      return this.removeTask(task.id);
    }
    this.#tasks.set(task.id, task);
    this.#unqueue(task.id);
    if (task.status.state !== TaskState.PENDING) {
      this.#bookOn(this.nodes.ensure(task.nodeId), task);
      return known !== undefined && !isStopRequested(known) && isStopRequested(task);
    }
    this.#unbook(task.id);
    this.#queue(task);
    return !onlyExplained(known, task);
  }

  /** Forgets the task; true when that freed room on a node. */
  removeTask(id: string): boolean {
    this.#tasks.delete(id);
    this.#neverChosen.delete(id);
    this.#unqueue(id);
    return this.#unbook(id);
  }

  /** Notes a decision: `task`, with its node, is on that node's books (again or already) and waits no more. */
  book(task: Task): void {
    this.#unqueue(task.id);
    this.#bookOn(this.nodes.ensure(task.nodeId), task);
  }

  /** Takes a decision back: the task waits again as the store last showed it. */
  release(id: string): void {
    this.#unbook(id);
    const task = this.#tasks.get(id);
    if (task?.status.state === TaskState.PENDING) this.#queue(task);
  }

  #queue(task: Task): void {
    if (task.nodeId !== "") this.#neverChosen.add(task.id);
    if (!isStopRequested(task)) {
      if (task.nodeId === "") this.waiting.set(task);
      else this.preassigned.set(task.id, task);
    }
    // Tasks to be removed are the reaper's: it deletes them as long as they have no node.
    else if (task.desiredState < TaskState.REMOVE) this.unwanted.set(task.id, task);
  }

  #unqueue(id: string): void {
    this.waiting.delete(id);
    this.preassigned.delete(id);
    this.unwanted.delete(id);
  }

  #bookOn(info: NodeInfo, task: Task): void {
    if (this.#booked.get(task.id) !== info) this.#unbook(task.id);
    info.setTask(task);
    this.#booked.set(task.id, info);
  }

  #unbook(id: string): boolean {
    const info = this.#booked.get(id);
    if (info === undefined) return false;
    this.#booked.delete(id);
    info.removeTask(id);
    if (info.node === undefined && info.taskCount === 0) this.nodes.delete(info);
    return true;
  }

  #countFailure(known: Task, task: Task, now: Millis): void {
    const failed = task.status.state === TaskState.FAILED || task.status.state === TaskState.REJECTED;
    if (failed && !this.#neverChosen.has(known.id)) this.#booked.get(known.id)?.addFailure(task, now);
  }
}

/** The task differs only in its status text, which the scheduler writes itself. */
function onlyExplained(known: Task | undefined, task: Task): boolean {
  return (
    known?.status.state === task.status.state &&
    known.desiredState === task.desiredState &&
    known.nodeId === task.nodeId &&
    known.spec === task.spec &&
    known.networks === task.networks &&
    known.endpoint === task.endpoint
  );
}

export type ViewEvent = EventOf<"task" | "node" | "resource">;

/** Takes a committed event; true when a pass may now place something that it could not before. */
export function applyEvent(view: ClusterView, event: ViewEvent, now: Millis): boolean {
  if (event.kind === "task") {
    return event.action === "remove" ? view.removeTask(event.object.id) : view.setTask(event.object, now);
  }
  if (event.kind === "resource") {
    if (event.action === "remove") return view.homes.remove(event.object.id);
    view.homes.set(event.object);
    return false;
  }
  if (event.action === "remove") {
    view.removeNode(event.object.id);
    return false;
  }
  view.setNode(event.object);
  return true;
}
