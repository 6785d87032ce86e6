/** Pure: no clock, no I/O, no randomness. */
import type { Task, TaskSpec } from "./gen/messages.js";

/**
 * The name users know a task by: `annotations.name`, else `service.slot.id`; tasks without a slot (global services)
 * have their node's id there (moby/swarmkit api/naming).
 */
export function taskName(task: Task): string {
  if (task.annotations.name !== "") return task.annotations.name;
  const slot = task.slot === 0 ? task.nodeId : task.slot;
  return `${task.serviceAnnotations.name}.${slot}.${task.id}`;
}

/** "container", "attachment" or the lower-cased kind of a generic runtime; undefined when the spec names none. */
export function runtimeName(spec: TaskSpec): string | undefined {
  if (spec.container) return "container";
  if (spec.attachment) return "attachment";
  return spec.generic?.kind.toLowerCase();
}
