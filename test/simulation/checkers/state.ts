import type { MemoryStore, StoreObject } from "@starling/store";
import type { Fail } from "./index.ts";

const texts = new WeakMap<StoreObject, string>();

/** What of an object replicas must agree on. */
export function objectText(object: StoreObject): string {
  let text = texts.get(object);
  if (text === undefined) {
    const value = "spec" in object && "annotations" in (object.spec ?? {}) ? registerOf(object) : "";
    text = `${object.id}@${object.meta.version.index}=${value}`;
    texts.set(object, text);
  }
  return text;
}

/** A register is a service; its value is a label. */
export function registerOf(object: unknown): string {
  const { spec } = object as { readonly spec: { readonly annotations: { readonly labels: Record<string, string> } } };
  return spec.annotations.labels["value"] ?? "";
}

/** All objects of the store, as text. */
export function storeText(store: MemoryStore): string {
  return store.view((tx) => [...tx.services.find(), ...tx.tasks.find()].map(objectText).join(" "));
}

/** Replicas that have applied the same entries hold the same objects, in the same versions. */
export class StateChecker {
  readonly #fail: Fail;
  readonly #at = new Map<number, string>();
  readonly #known = new Set<string>([""]);

  constructor(fail: Fail) {
    this.#fail = fail;
  }

  /** True when this entry was applied nowhere before. */
  applied(name: string, store: MemoryStore, index: number): boolean {
    const text = storeText(store);
    const known = this.#at.get(index);
    if (known !== undefined && known !== text) {
      this.#fail(`state differs at index ${index}: ${name} has ${difference(text, known)}`);
    }
    this.#at.set(index, text);
    this.#known.add(text);
    return known === undefined;
  }

  /** A state taken over from a snapshot is one that was there before. */
  restored(name: string, store: MemoryStore): void {
    const text = storeText(store);
    if (!this.#known.has(text)) this.#fail(`${name} restored a state that never was: ${text}`);
  }
}

export function difference(text: string, known: string): string {
  const [has, others] = [new Set(text.split(" ")), new Set(known.split(" "))];
  const more = [...has].filter((each) => !others.has(each));
  const less = [...others].filter((each) => !has.has(each));
  return `[${more.join(" ")}], others have [${less.join(" ")}]`;
}
