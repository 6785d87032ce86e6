/** Pure: no clock, no I/O, no randomness. */

import {
  type Service,
  type Task,
  TaskState,
  taskStateName,
  timestampMs,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { formatTimestamp } from "../format/time.ts";
import { placeOf } from "../format/words.ts";

/** What one look at a service and its tasks saw. */
export interface Sighting {
  readonly service: Service;
  /** Tasks that carry the service's present spec, ended ones included. */
  readonly tasks: readonly Task[];
  /** Tasks that shall run (for jobs: complete) in all. */
  readonly wanted: number;
}

export interface Expectation {
  /** Tasks created earlier don't count as failures of this change. Milliseconds since the epoch. */
  readonly sinceMs: number;
  /** A rollback is what was asked for, so its completion is a success. */
  readonly rollback: boolean;
}

export interface Assessment {
  readonly verdict: "going" | "converged" | "failed";
  /** Tasks that run, or have completed for jobs. */
  readonly done: number;
  readonly wanted: number;
  /** Why it failed, or what it waits for. */
  readonly reason: string;
  /** The newest task of each slot, in order of slots. */
  readonly slots: readonly SlotState[];
}

export interface SlotState {
  readonly name: string;
  readonly state: string;
  readonly error: string;
  /** The slot's last task has ended of itself and nothing takes its place so far. */
  readonly dead: boolean;
}

/** Ends in one slot before a service counts as one that doesn't come up. */
const endsMax = 3;

/**
 * Whether the service has come to what its spec says. Failed: its update was paused or rolled back, or the tasks of
 * one slot keep ending.
 */
export function assess({ service, tasks, wanted }: Sighting, expectation: Expectation): Assessment {
  const isJob = service.jobStatus !== undefined;
  const slots = groupBySlot(service, tasks);
  const done = [...slots.values()].filter((slot) => slot.some((task) => isDone(service, task))).length;
  const states = [...slots].map(([key, slot]) => stateOf(service, key, slot, expectation.sinceMs));
  const progress = { done, wanted, slots: states };
  const update = updateVerdict(service, expectation);
  if (update.verdict === "failed") return { ...progress, verdict: "failed", reason: update.reason };
  const failing = [...slots.entries()].find(
    ([, slot]) => !isJob && slot.filter((task) => hasEndedSince(task, expectation.sinceMs)).length >= endsMax,
  );
  if (failing) {
    const last = failing[1].find((task) => hasEndedSince(task, expectation.sinceMs))!;
    const ends = failing[1].filter((task) => hasEndedSince(task, expectation.sinceMs)).length;
    return {
      ...progress,
      verdict: "failed",
      reason: `task ${service.spec.annotations.name}.${failing[0]} has ended ${ends} times: ${endOf(last)}`,
    };
  }
  if (update.verdict === "going" || done < wanted) return { ...progress, verdict: "going", reason: update.reason };
  const surplus = !isJob && tasks.filter((task) => isDone(service, task)).length > wanted;
  return { ...progress, verdict: surplus ? "going" : "converged", reason: "" };
}

function updateVerdict(
  { updateStatus }: Service,
  { rollback }: Expectation,
): { readonly verdict: "going" | "settled" | "failed"; readonly reason: string } {
  const states = UpdateStatus_UpdateState;
  const failed = (what: string) => ({ verdict: "failed" as const, reason: `${what}: ${updateStatus?.message}` });
  switch (updateStatus?.state) {
    case states.UPDATING:
    case states.ROLLBACK_STARTED:
      return { verdict: "going", reason: updateStatus.message };
    case states.PAUSED:
      return failed("service update paused");
    case states.ROLLBACK_PAUSED:
      return failed("service rollback paused");
    case states.ROLLBACK_COMPLETED:
      return rollback ? { verdict: "settled", reason: "" } : failed("service rolled back");
    default:
      return { verdict: "settled", reason: "" };
  }
}

/** Tasks by slot (replicated) or node (global), the newest first. Slots in rising order. */
function groupBySlot({ spec }: Service, tasks: readonly Task[]): Map<string, Task[]> {
  const bySlot = new Map<string, Task[]>();
  for (const task of tasks.toSorted((a, b) => a.slot - b.slot || a.nodeId.localeCompare(b.nodeId))) {
    const key = placeOf(task, spec.replicatedJob !== undefined);
    bySlot.set(key, [...(bySlot.get(key) ?? []), task]);
  }
  for (const slot of bySlot.values()) slot.sort((a, b) => createdMs(b) - createdMs(a));
  return bySlot;
}

function isDone(service: Service, { status, desiredState, jobIteration }: Task): boolean {
  if (service.jobStatus === undefined) {
    return status.state === TaskState.RUNNING && desiredState === TaskState.RUNNING;
  }
  return status.state === TaskState.COMPLETE && (jobIteration?.index ?? 0) === service.jobStatus.jobIteration.index;
}

/** The task ended of itself: nobody had asked it to, or it failed before. */
function hasEndedSince(task: Task, sinceMs: number): boolean {
  const { state } = task.status;
  return (
    (state === TaskState.COMPLETE || state === TaskState.FAILED || state === TaskState.REJECTED) &&
    createdMs(task) >= sinceMs
  );
}

function stateOf(service: Service, key: string, slot: readonly Task[], sinceMs: number): SlotState {
  const newest = slot[0]!;
  const { state } = newest.status;
  const live = slot.find((task) => task.status.state <= TaskState.RUNNING);
  const error = newest.status.err || slot.find((task) => task.status.err !== "")?.status.err || "";
  return {
    name: `${service.spec.annotations.name}.${key}`,
    state: taskStateName((live ?? newest).status.state).toLowerCase(),
    error: state === TaskState.RUNNING ? "" : error,
    dead: live === undefined && !isDone(service, newest) && hasEndedSince(newest, sinceMs),
  };
}

function createdMs({ meta, status }: Task): number {
  const created = meta.createdAt ?? status.timestamp;
  return created ? timestampMs(created) : 0;
}

function endOf({ status }: Task): string {
  if (status.err !== "") return status.err;
  const code = status.container?.exitCode;
  return `${taskStateName(status.state).toLowerCase()}${code === undefined ? "" : ` with exit code ${code}`} at ${formatTimestamp(status.timestamp)}`;
}
