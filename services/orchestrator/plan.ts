/** Pure: no clock, no I/O, no randomness. */
import type { Node, ServiceSpec, TaskState, UpdateStatus, Version } from "@starling/api";
import type { SlotKey } from "./slot.ts";

/** What one pass over a service wants changed. Applied in one or more transactions that check each step again. */
export interface Plan {
  /** Tasks to create, each with the desired state it begins with. */
  readonly create: PlannedTask[];
  /** Desired states to raise. */
  readonly desire: { readonly taskId: string; readonly state: TaskState }[];
  /** What becomes of tasks that the scheduler wants on other nodes. */
  readonly moves: Move[];
  /** Change of the service object itself: update status, or a roll-back. */
  service: ServiceChange | undefined;
  /** When to look again though nothing happens: a delay or a monitored period ends. Milliseconds since the epoch. */
  wakeAtMs: number | undefined;
}

export interface PlannedTask {
  readonly slot: SlotKey;
  readonly desiredState: TaskState;
}

/**
 * - move: a new task with a wish for the node takes the slot, beside the old one when start-first;
 * - stay: the task goes on where it is, and is not marked any more.
 */
export type Move =
  | {
      readonly t: "move";
      readonly slot: SlotKey;
      readonly taskId: string;
      readonly nodeId: string;
      readonly startFirst: boolean;
    }
  | { readonly t: "stay"; readonly taskId: string };

export interface ServiceChange {
  readonly updateStatus: UpdateStatus;
  /** Set when the service goes back to its previous spec. */
  readonly rollback?: { readonly spec: ServiceSpec; readonly specVersion: Version | undefined };
}

/** What the pure parts look at besides the service and its tasks. */
export interface Observed {
  readonly nowMs: number;
  readonly node: (id: string) => Node | undefined;
  /** When a task came to run, if its status says something later by now and this leader saw that come: else it is what the status says. */
  readonly runningSinceMs: (taskId: string) => number | undefined;
  /** Slots in which something still stops that is to be removed: what is new there waits for it. */
  readonly leaving?: ReadonlySet<SlotKey>;
}

export function emptyPlan(): Plan {
  return { create: [], desire: [], moves: [], service: undefined, wakeAtMs: undefined };
}

/** Keeps the earliest time to look again. */
export function wakeAt(plan: Plan, ms: number): void {
  if (plan.wakeAtMs === undefined || ms < plan.wakeAtMs) plan.wakeAtMs = ms;
}
