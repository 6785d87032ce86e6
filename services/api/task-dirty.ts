/** Pure: no clock, no I/O, no randomness. */

import { nodeMatches, parseConstraints } from "./constraint.ts";
import { sameValue } from "./equal.ts";
import { type Node, type Service, type Task, type TaskSpec, TaskState } from "./gen/messages.js";

/**
 * Whether `task` must be replaced to carry `service`'s present spec (swarmkit manager/orchestrator/task.go). Not dirty
 * when the spec versions agree, when only placement changed and `node` satisfies it, or when neither task spec nor
 * endpoint spec changed. Registry credentials alone never make a task dirty that has its image (READY to RUNNING).
 */
export function isTaskDirty(service: Service, task: Task, node: Node | undefined): boolean {
  if (task.specVersion && service.specVersion && task.specVersion.index === service.specVersion.index) return false;
  const wanted = service.spec.task;
  if (task.endpoint !== undefined && !sameValue(service.spec.endpoint, task.endpoint.spec)) return true;
  if (onlyPlacementDiffers(wanted, task.spec) && node !== undefined && placementFits(wanted, node)) return false;
  const hasImage =
    task.desiredState <= TaskState.RUNNING &&
    task.status.state >= TaskState.READY &&
    task.status.state <= TaskState.RUNNING;
  const compared = hasImage ? withPullOptionsOf(wanted, task.spec) : wanted;
  return !sameValue(compared, task.spec);
}

function onlyPlacementDiffers(wanted: TaskSpec, running: TaskSpec): boolean {
  if (sameValue(wanted.placement, running.placement)) return false;
  return sameValue({ ...wanted, placement: running.placement }, running);
}

function placementFits(wanted: TaskSpec, node: Node): boolean {
  return nodeMatches(parseConstraints(wanted.placement?.constraints ?? []), node);
}

function withPullOptionsOf(wanted: TaskSpec, running: TaskSpec): TaskSpec {
  if (!wanted.container || !running.container) return wanted;
  return { ...wanted, container: { ...wanted.container, pullOptions: running.container.pullOptions } };
}
