/** Pure: no clock, no I/O, no randomness. */
import {
  hasStopped,
  isJob,
  type Node,
  NodeSpec_Availability,
  NodeStatus_State,
  type Service,
  type Task,
  TaskState,
  type Timestamp,
  timestampMs,
} from "@starling/api";
import { inSteps, type Steps } from "@starling/base";

/**
 * The place of one replica: a slot number of a replicated service, or a node of a global one. `tasks` are all tasks that
 * ever stood in it and are still in the store, oldest first, without those that are to be removed.
 */
export interface Slot {
  readonly key: SlotKey;
  readonly tasks: readonly Task[];
}

/** Slot number of a replicated service (from 1) or job (from 0), node id of a global one. */
export type SlotKey = number | string;

/** Slot numbers in order, for as long as `goOn` says of the next one. */
export function* numbers(first: number, goOn: (next: number) => boolean): Generator<number> {
  for (let number = first; goOn(number); number++) yield number;
}

/** Milliseconds since the epoch; 0 for a stamp that is not set. */
export function stampMs(stamp: Timestamp | undefined): number {
  return stamp === undefined ? 0 : timestampMs(stamp);
}

/** Still meant to run: desired state at most RUNNING; or a job's task that is to complete and has not yet. */
export function isWanted(task: Task): boolean {
  if (task.desiredState === TaskState.COMPLETE) return task.status.state !== TaskState.COMPLETE;
  return task.desiredState <= TaskState.RUNNING;
}

/** How a new task in the slot begins: held at READY while an earlier one there has yet to stop. */
export function beginning(slot: Slot | undefined, service: Service): TaskState {
  return slot?.tasks.some((task) => !hasEnded(task)) ? TaskState.READY : goalOf(service);
}

/** The desired state of a task that may start: RUNNING, or COMPLETE for jobs. */
export function goalOf({ spec }: Service): TaskState {
  return isJob(spec) ? TaskState.COMPLETE : TaskState.RUNNING;
}

/** Not to start yet. */
export function isHeld(task: Task): boolean {
  return task.desiredState === TaskState.READY;
}

/** Has ended, or will never begin: no process of it is left. */
export function hasEnded(task: Task): boolean {
  return hasStopped(task);
}

/** Has come to an end that nobody asked for: finished, failed or never begun. */
export function endedByItself({ status: { state } }: Task): boolean {
  return state === TaskState.COMPLETE || state === TaskState.FAILED || state === TaskState.REJECTED;
}

/** Tasks grouped by slot; tasks with desired state REMOVE are on their way out and belong to no slot. */
export function* groupSlots(tasks: Iterable<Task>, keyOf: (task: Task) => SlotKey): Steps<Map<SlotKey, Slot>> {
  const slots = new Map<SlotKey, Slot & { readonly tasks: Task[] }>();
  const several = new Set<Task[]>();
  yield* inSteps(tasks, (task) => {
    if (task.desiredState >= TaskState.REMOVE) return;
    const key = keyOf(task);
    const slot = slots.get(key);
    if (slot === undefined) slots.set(key, { key, tasks: [task] });
    else {
      slot.tasks.push(task);
      several.add(slot.tasks);
    }
  });
  yield* inSteps(several, (list) => list.sort(byAge));
  return slots;
}

/** Oldest first: the order of a slot's tasks. */
export function byAge(a: Task, b: Task): number {
  return stampMs(a.meta.createdAt) - stampMs(b.meta.createdAt) || a.meta.version.index - b.meta.version.index;
}

/** A node whose tasks must run elsewhere: gone, DOWN or drained. */
export function isInvalidNode(node: Node | undefined): boolean {
  return node === undefined || node.status.state === NodeStatus_State.DOWN || isDrained(node);
}

export function isDrained(node: Node | undefined): boolean {
  return node?.spec.availability === NodeSpec_Availability.DRAIN;
}

/** Ready and active. */
export function takesNewTasks(node: Node | undefined): boolean {
  return node?.status.state === NodeStatus_State.READY && node.spec.availability === NodeSpec_Availability.ACTIVE;
}

/** What a stop must not wait for: a node that cannot report any more. */
export function isLostNode(node: Node | undefined): boolean {
  return node === undefined || node.status.state === NodeStatus_State.DOWN;
}
