/** Pure: no clock, no I/O, no randomness. */

import { type Annotations, type SelectBy, taskName } from "@starling/api";
import type { ObjectEvent } from "@starling/store";

/** One SelectBy, read. */
export interface WatchFilter {
  /** As in the watch_selectors of objects.proto: which kinds have it is told there. */
  readonly selector: string;
  /** What it fixes of an object; two filters that fix the same contradict each other. */
  readonly fixes: readonly string[];
  readonly holds: (event: ObjectEvent) => boolean;
}

/** Undefined when nothing is set, or nothing that a watch can select by. */
export function readFilter(by: SelectBy): WatchFilter | undefined {
  return commonFilter(by) ?? taskFilter(by) ?? ofOneKind(by);
}

function commonFilter({ id, idPrefix, name, namePrefix, custom, customPrefix }: SelectBy): WatchFilter | undefined {
  if (id !== undefined) return filter("id", ({ object }) => object.id === id);
  if (idPrefix !== undefined) return filter("id_prefix", ({ object }) => object.id.startsWith(idPrefix), "id");
  if (name !== undefined) return filter("name", (event) => nameOf(event) === name);
  if (namePrefix !== undefined) {
    return filter("name_prefix", (event) => nameOf(event)?.startsWith(namePrefix) === true, "name");
  }
  if (custom !== undefined) {
    return filter("custom", (event) => hasIndex(event, custom.index, (value) => value === custom.value));
  }
  if (customPrefix !== undefined) {
    const { index, value: prefix } = customPrefix;
    return filter("custom_prefix", (event) => hasIndex(event, index, (value) => value.startsWith(prefix)), "custom");
  }
  return undefined;
}

function taskFilter({ serviceId, nodeId, slot, desiredState }: SelectBy): WatchFilter | undefined {
  if (serviceId !== undefined) {
    return filter("service_id", ({ kind, object }) => kind === "task" && object.serviceId === serviceId);
  }
  if (nodeId !== undefined) return filter("node_id", ({ kind, object }) => kind === "task" && object.nodeId === nodeId);
  if (slot !== undefined) {
    return filter(
      "slot",
      ({ kind, object }) => kind === "task" && object.serviceId === slot.serviceId && object.slot === slot.slot,
      "service_id",
    );
  }
  if (desiredState !== undefined) {
    return filter("desired_state", ({ kind, object }) => kind === "task" && object.desiredState === desiredState);
  }
  return undefined;
}

function ofOneKind({ role, membership, kind: resourceKind }: SelectBy): WatchFilter | undefined {
  if (role !== undefined) return filter("role", ({ kind, object }) => kind === "node" && object.role === role);
  if (membership !== undefined) {
    return filter("membership", ({ kind, object }) => kind === "node" && object.spec.membership === membership);
  }
  if (resourceKind !== undefined) {
    return filter("kind", ({ kind, object }) => kind === "resource" && object.kind === resourceKind);
  }
  return undefined;
}

function filter(selector: string, holds: WatchFilter["holds"], ...alsoFixes: readonly string[]): WatchFilter {
  return { selector, fixes: [selector, ...alsoFixes], holds };
}

/** A node's hostname, a task's name as people see it, else the name in the annotations. */
function nameOf(event: ObjectEvent): string | undefined {
  if (event.kind === "node") return event.object.description?.hostname;
  return event.kind === "task" ? taskName(event.object) : annotationsOf(event).name;
}

function hasIndex(event: ObjectEvent, key: string, accept: (value: string) => boolean): boolean {
  return annotationsOf(event).indices.some((entry) => entry.key === key && accept(entry.val));
}

function annotationsOf({ kind, object }: ObjectEvent): Annotations {
  const hasNoSpec = kind === "task" || kind === "extension" || kind === "resource";
  return hasNoSpec ? object.annotations : object.spec.annotations;
}
