/** Pure: no clock, no I/O, no randomness. */
import { consumeGeneric, type GenericResource, genericKind, type Node, type Task } from "@starling/api";

/** The tasks, newest first, that no longer find room in what the node has of CPU, memory and generic resources. */
export function outgrown(node: Node, tasks: readonly Task[]): Task[] {
  const resources = node.description?.resources;
  if (!resources) return [];
  let cpus = resources.nanoCpus;
  let memory = resources.memoryBytes;
  let generic: readonly GenericResource[] = resources.generic;
  const out: Task[] = [];
  const oldestFirst = [...tasks].sort((a, b) => a.meta.version.index - b.meta.version.index);
  for (const task of oldestFirst) {
    const wants = task.spec.resources?.reservations;
    if (!wants) continue;
    const fits =
      wants.nanoCpus <= cpus &&
      wants.memoryBytes <= memory &&
      task.assignedGenericResources.every((assigned) => isLeft(generic, assigned));
    if (!fits) out.push(task);
    else {
      generic = consumeGeneric(generic, task.assignedGenericResources);
      cpus -= wants.nanoCpus;
      memory -= wants.memoryBytes;
    }
  }
  return out;
}

/** A kind that changed between count and names is no longer what the task was assigned. */
function isLeft(offered: readonly GenericResource[], assigned: GenericResource): boolean {
  const { discreteResourceSpec: count, namedResourceSpec: name } = assigned;
  return offered.some((resource) => {
    if (genericKind(resource) !== genericKind(assigned)) return false;
    if (name) return resource.namedResourceSpec?.value === name.value;
    return (resource.discreteResourceSpec?.value ?? 0) >= (count?.value ?? 0);
  });
}
