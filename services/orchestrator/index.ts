import type { Clock, Logger } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { createConstraintEnforcer } from "./constraint-enforcer/loop.ts";
import { createServiceLoop } from "./service-loop.ts";
import { createTaskReaper } from "./task-reaper/loop.ts";

export type { Observed, Plan, PlannedTask, ServiceChange } from "./plan.ts";
export { planService } from "./plan-service.ts";

/** The leader's loops that turn services into tasks, each `{ run(signal) }`. */
export function createOrchestrator(options: {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** Ids of new tasks; random unless given. */
  readonly newId?: () => string;
}): readonly { run(signal: AbortSignal): Promise<void> }[] {
  return [createServiceLoop(options), createTaskReaper(options), createConstraintEnforcer(options)];
}
