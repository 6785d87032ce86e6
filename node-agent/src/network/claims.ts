/** Pure: no clock, no I/O, no randomness. */
import { assert } from "@starling/base";

/** Values by key before and after, of keys alone whose value differs. */
export interface Change<V> {
  readonly before: ReadonlyMap<string, V>;
  readonly after: ReadonlyMap<string, V>;
}

/**
 * Values by key, claimed by sources that come, change and go. A key that several claim has the value of the greatest text, so
 * that the order in which they came does not matter. Remembers what was taken last, so that a change costs what it changes.
 */
export class Claims<V extends NonNullable<unknown>> {
  readonly #textOf: (value: V) => string;
  readonly #values = new Map<string, V>();
  /** All claims of keys that have more than one, greatest first. */
  readonly #contested = new Map<string, readonly V[]>();
  /** Values as taken last, of keys touched since; undefined: none. */
  readonly #taken = new Map<string, V | undefined>();

  /** `textOf`: equal texts, equal values. */
  constructor(textOf: (value: V) => string) {
    this.#textOf = textOf;
  }

  get values(): ReadonlyMap<string, V> {
    return this.#values;
  }

  claim(key: string, value: V): void {
    const now = this.#values.get(key);
    if (now === undefined) {
      this.#set(key, value);
      return;
    }
    const all = [...(this.#contested.get(key) ?? [now]), value];
    all.sort((a, b) => (this.#textOf(a) < this.#textOf(b) ? 1 : -1));
    this.#contested.set(key, all);
    this.#set(key, all[0]!);
  }

  /** Takes one claim of that value back. */
  withdraw(key: string, value: V): void {
    const all = this.#contested.get(key) ?? [this.#values.get(key)];
    const text = this.#textOf(value);
    const at = all.findIndex((other) => other !== undefined && (other === value || this.#textOf(other) === text));
    assert(at >= 0, () => `${key} is not claimed as ${text}`);
    const rest = all.filter((_, position) => position !== at);
    if (rest.length > 1) this.#contested.set(key, rest as readonly V[]);
    else this.#contested.delete(key);
    this.#set(key, rest[0]);
  }

  /** Takes all claims back. */
  clear(): void {
    for (const key of [...this.#values.keys()]) this.#set(key, undefined);
    this.#contested.clear();
  }

  /** What changed since the last call. */
  take(): Change<V> {
    const before = new Map<string, V>();
    const after = new Map<string, V>();
    for (const [key, old] of this.#taken) {
      const now = this.#values.get(key);
      if (old === now || (old !== undefined && now !== undefined && this.#textOf(old) === this.#textOf(now))) continue;
      if (old !== undefined) before.set(key, old);
      if (now !== undefined) after.set(key, now);
    }
    this.#taken.clear();
    return { before, after };
  }

  /** Whoever took the key could not use it: the next call of `take` tells it again. */
  giveBack(key: string): void {
    this.#taken.set(key, undefined);
  }

  #set(key: string, value: V | undefined): void {
    if (!this.#taken.has(key)) this.#taken.set(key, this.#values.get(key));
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, value);
  }
}
