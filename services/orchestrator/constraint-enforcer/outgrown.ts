/** Pure: no clock, no I/O, no randomness. */
import type { Node, Task } from "@starling/api";

/** The tasks, newest first, that no longer find room in what the node has of CPU and memory. */
export function outgrown(node: Node, tasks: readonly Task[]): Task[] {
  const resources = node.description?.resources;
  if (!resources) return [];
  let cpus = resources.nanoCpus;
  let memory = resources.memoryBytes;
  const out: Task[] = [];
  const oldestFirst = [...tasks].sort((a, b) => a.meta.version.index - b.meta.version.index);
  for (const task of oldestFirst) {
    const wants = task.spec.resources?.reservations;
    if (!wants) continue;
    if (wants.nanoCpus > cpus || wants.memoryBytes > memory) out.push(task);
    else {
      cpus -= wants.nanoCpus;
      memory -= wants.memoryBytes;
    }
  }
  return out;
}
