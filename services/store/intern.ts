/** Pure: no clock, no I/O, no randomness. */
import type { Task } from "@starling/api";
import type { ObjectEvent, StoreObject } from "./objects.ts";

/** Task specs of one service to share with: the present one, and those that tasks on their way out still have. */
const MODELS_PER_SERVICE_MAX = 8;

/**
 * Lets objects that came off the wire share equal parts, to every depth: an update with the state it replaces, a task with
 * another task of its service and spec. On a leader they share anyway, because its loops copy by spread; without this a
 * follower, or a leader after its restart, would hold spec and networks once per task.
 */
export class Interner {
  /** Per service and spec version a task to share with. */
  readonly #models = new Map<string, Map<number, Task>>();

  intern(change: ObjectEvent, old: StoreObject | undefined): StoreObject {
    const { kind, object } = change;
    if (kind === "service" && change.action === "remove") this.#models.delete(object.id);
    const shared = old === undefined ? object : share(object, old);
    return kind === "task" && change.action !== "remove" ? this.#internTask(shared as Task) : shared;
  }

  #internTask(task: Task): Task {
    if (task.serviceId === "") return task;
    const models = this.#models.get(task.serviceId) ?? new Map<number, Task>();
    const version = task.specVersion?.index ?? 0;
    const model = models.get(version);
    if (model !== undefined) return share(task, model);
    this.#models.set(task.serviceId, models.set(version, task));
    if (models.size > MODELS_PER_SERVICE_MAX) models.delete(models.keys().next().value!);
    return task;
  }
}

/** `model` where `value` equals it; else `value`, with its parts shared likewise. Neither is changed. */
export function share<T>(value: T, model: unknown): T {
  if (value === model) return model as T;
  if (typeof value !== "object" || typeof model !== "object" || value === null || model === null) return value;
  if (ArrayBuffer.isView(value) || ArrayBuffer.isView(model)) return sameBytes(value, model) ? (model as T) : value;
  if (Array.isArray(value) !== Array.isArray(model)) return value;
  return shareParts(value as Parts, model as Parts) as T;
}

type Parts = Readonly<Record<string, unknown>>;

function shareParts(value: Parts, model: Parts): Parts {
  const keys = Object.keys(value);
  const sameKeys = keys.length === Object.keys(model).length;
  let copy = sameKeys ? undefined : copyOf(value);
  for (const [at, key] of keys.entries()) {
    // Keys of labels are the users': what a model has none of its own of, its prototype must not give.
    const known = Object.hasOwn(model, key);
    const shared = known ? share(value[key], model[key]) : value[key];
    if (copy === undefined && (!known || shared !== model[key])) {
      copy = copyOf(value);
      for (const before of keys.slice(0, at)) copy[before] = model[before];
    }
    // Also where both are equal strings: there may be two of them, and it is the model's that stays.
    if (copy !== undefined) copy[key] = shared;
  }
  return copy ?? model;
}

function copyOf(value: Parts): Record<string, unknown> {
  return (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
}

function sameBytes(a: object, b: object): boolean {
  return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
}
