/** Pure: no clock, no I/O, no randomness. */
import type { Service } from "./gen/messages.js";

/** What a task says that has what it needs of networks and ports, and no node yet. */
export const pendingMessage = "pending task scheduling";

/** Whether tasks of the service have to wait for something that the allocator gives: to them, or to the service first. */
export function needsAllocation({ spec, endpoint }: Service): boolean {
  const ports = spec.endpoint?.ports ?? [];
  return endpoint !== undefined || [spec.task.networks, spec.networks, ports].some((each) => each.length > 0);
}
