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
    // What is replaced shares with its service's others already.
    if (old !== undefined) return share(object, old);
    return kind === "task" ? this.#internTask(object) : object;
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
  if (Array.isArray(value) || Array.isArray(model)) {
    return Array.isArray(value) && Array.isArray(model) ? (shareItems(value, model) as T) : value;
  }
  if (ArrayBuffer.isView(value) || ArrayBuffer.isView(model)) return sameBytes(value, model) ? (model as T) : value;
  return shareParts(value as Parts, model as Parts) as T;
}

function shareItems(value: readonly unknown[], model: readonly unknown[]): readonly unknown[] {
  const shared = value.map((item, at) => (at < model.length ? share(item, model[at]) : item));
  return shared.length === model.length && shared.every((item, at) => item === model[at]) ? model : shared;
}

type Parts = Readonly<Record<string, unknown>>;

/** Keys of labels are the users': what a model has none of its own of, its prototype must not give. */
const absent = Symbol("absent");

/** Makes no object while the parts are equal: each change of a task compares them all. */
function shareParts(value: Parts, model: Parts): Parts {
  let copy: Record<string, unknown> | undefined;
  let surplus = 0;
  for (const key in value) {
    const other = Object.hasOwn(model, key) ? model[key] : absent;
    const shared = share(value[key], other);
    if (shared !== other) copy ??= copyUntil(key, value, model);
    // Also where both are equal strings: there may be two of them, and it is the model's that stays.
    if (copy !== undefined) copy[key] = shared;
    surplus++;
  }
  for (const _ in model) surplus--;
  return copy ?? (surplus === 0 ? model : copyUntil(undefined, value, model));
}

/** A copy of `value`, with the parts of `model` before `end`, so far equal ones. */
function copyUntil(end: string | undefined, value: Parts, model: Parts): Record<string, unknown> {
  const copy: Record<string, unknown> = { ...value };
  for (const key in value) {
    if (key === end) break;
    copy[key] = model[key];
  }
  return copy;
}

function sameBytes(a: object, b: object): boolean {
  return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
}
