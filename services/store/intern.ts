/** Pure: no clock, no I/O, no randomness. */
import type { Task } from "@starling/api";
import type { ObjectEvent, StoreObject } from "./objects.ts";

/**
 * Lets objects that came off the wire share equal parts: an update with the state it replaces, a task with another task
 * of its service. On a leader they share anyway, because its loops copy by spread; without this a follower would hold
 * the whole spec once per task.
 */
export class Interner {
  /** One task per service, to share with. */
  #models = new Map<string, Task>();

  intern(change: ObjectEvent, old: StoreObject | undefined): StoreObject {
    const { kind, object } = change;
    if (kind === "service" && change.action === "remove") this.#models.delete(object.id);
    if (old !== undefined) return sharing(object, old);
    if (kind !== "task") return object;
    const model = this.#models.get(object.serviceId);
    const shared = model === undefined ? object : sharing(object, model);
    this.#models.set(object.serviceId, shared);
    return shared;
  }
}

/** `object`, with each part that equals `model`'s replaced by it. */
function sharing<T extends StoreObject>(object: T, model: T): T {
  const shared: Partial<Record<keyof T, unknown>> = {};
  for (const key of Object.keys(object) as (keyof T)[]) {
    const [part, known] = [object[key], model[key]];
    if (typeof part === "object" && part !== known && equal(part, known)) shared[key] = known;
  }
  return { ...object, ...shared };
}

/** Whether two decoded values are the same. Decoders set every field, so equal messages have equal keys. */
function equal(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  let surplus = 0;
  for (const key in left) {
    if (!equal(left[key], right[key])) return false;
    surplus++;
  }
  for (const _key in right) surplus--;
  return surplus === 0 && Array.isArray(a) === Array.isArray(b);
}
