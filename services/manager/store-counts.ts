/** Pure: no clock, no I/O, no randomness. */
import { type Node, type Task, TaskState } from "@starling/api";
import { all, type ObjectEvent, type ReadTx } from "@starling/store";

/**
 * How many objects of a store are in which state, kept up to date by its events: what a scrape shows costs nothing that
 * grows with the cluster.
 *
 * Invariant: equal to those of a walk over the store after the last event that was counted. No entry is 0.
 */
export class StoreCounts {
  readonly #tasksByState = new Map<TaskState, number>();
  readonly #nodesByState = new Map<number, number>();
  readonly #runningByService = new Map<string, number>();

  /** Counts what is in the store now. */
  static of(tx: ReadTx): StoreCounts {
    const counts = new StoreCounts();
    for (const task of tx.tasks.find(all)) counts.#countTask(task, 1);
    for (const node of tx.nodes.find(all)) counts.#countNode(node, 1);
    return counts;
  }

  tasksIn(state: TaskState): number {
    return this.#tasksByState.get(state) ?? 0;
  }

  nodesIn(state: number): number {
    return this.#nodesByState.get(state) ?? 0;
  }

  /** Tasks of the service in state RUNNING that are to go on. */
  runningOf(serviceId: string): number {
    return this.#runningByService.get(serviceId) ?? 0;
  }

  /** States that nodes and tasks are in. */
  get taskStates(): Iterable<TaskState> {
    return this.#tasksByState.keys();
  }

  get nodeStates(): Iterable<number> {
    return this.#nodesByState.keys();
  }

  /** Takes over a committed change; those of other objects than tasks and nodes count for nothing. */
  count(event: ObjectEvent): void {
    if (event.kind === "task") {
      if (event.action !== "create") this.#countTask(event.old ?? event.object, -1);
      if (event.action !== "remove") this.#countTask(event.object, 1);
    } else if (event.kind === "node") {
      if (event.action !== "create") this.#countNode(event.old ?? event.object, -1);
      if (event.action !== "remove") this.#countNode(event.object, 1);
    }
  }

  #countTask(task: Task, by: number): void {
    addTo(this.#tasksByState, task.status.state, by);
    if (task.status.state !== TaskState.RUNNING || task.desiredState > TaskState.RUNNING) return;
    addTo(this.#runningByService, task.serviceId, by);
  }

  #countNode(node: Node, by: number): void {
    addTo(this.#nodesByState, node.status.state, by);
  }
}

function addTo<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
