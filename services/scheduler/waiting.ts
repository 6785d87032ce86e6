/** Pure: no clock, no I/O, no randomness. */
import { moveLabelOf, type Task } from "@starling/api";
import { LargeMap } from "@starling/base";

/** Waiting tasks of one service and spec version: they share a filter run. */
export class WaitingGroup {
  readonly key: string;
  /** Groups are numbered as they begin to wait. */
  readonly number: number;
  readonly #tasks = new Map<string, Task>();
  #list: readonly Task[] | undefined;

  constructor(key: string, number: number) {
    this.key = key;
    this.number = number;
  }

  /** One that has begun to wait first; all share its spec. */
  get model(): Task {
    for (const task of this.#tasks.values()) return task;
    throw new Error(`group ${this.key} is empty`);
  }

  /** In the order in which they began to wait; the same array as long as nothing changes. */
  get tasks(): readonly Task[] {
    this.#list ??= [...this.#tasks.values()];
    return this.#list;
  }

  get size(): number {
    return this.#tasks.size;
  }

  set(task: Task): void {
    this.#tasks.set(task.id, task);
    this.#list = undefined;
  }

  delete(id: string): void {
    this.#tasks.delete(id);
    this.#list = undefined;
  }
}

/** Tasks that wait for a node, one by one and in groups. Invariant: a task is in exactly one group, and no group is empty. */
export class WaitingTasks {
  readonly #tasks = new LargeMap<Task>();
  readonly #groups = new Map<string, WaitingGroup>();
  readonly #wishing = new Map<string, Task>();
  #numbers = 0;

  get size(): number {
    return this.#tasks.size;
  }

  values(): Iterable<Task> {
    return this.#tasks.values();
  }

  /**
   * In the order in which they began to wait. Tasks may come and go during the iteration; groups that begin to wait then are
   * not part of it.
   */
  *groups(): Generator<WaitingGroup> {
    const end = this.#numbers;
    for (const group of this.#groups.values()) {
      if (group.number >= end) return;
      yield group;
    }
  }

  /** Those that wish for a node: another task was moved for it. */
  get wishing(): ReadonlyMap<string, Task> {
    return this.#wishing;
  }

  set(task: Task): void {
    this.delete(task.id);
    this.#tasks.set(task.id, task);
    if (moveLabelOf(task, "wish") !== undefined) this.#wishing.set(task.id, task);
    const key = groupKey(task);
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new WaitingGroup(key, this.#numbers++);
      this.#groups.set(key, group);
    }
    group.set(task);
  }

  delete(id: string): void {
    const task = this.#tasks.get(id);
    if (task === undefined) return;
    this.#tasks.delete(id);
    this.#wishing.delete(id);
    const key = groupKey(task);
    const group = this.#groups.get(key)!;
    group.delete(id);
    if (group.size === 0) this.#groups.delete(key);
  }
}

/** Tasks without a version are on their own. */
function groupKey(task: Task): string {
  return task.specVersion ? `${task.serviceId} ${task.specVersion.index}` : task.id;
}
