/** Pure: no clock, no I/O, no randomness. */

/**
 * Who has still to apply that an endpoint serves no more. `S` stands for a node's stream, or for anything else that must
 * come to pass first. An endpoint that nobody waits for is drained.
 */
export class Settling<S> {
  readonly #waiting = new Map<string, Set<S>>();

  /** `who` may still send new connections to `key`. */
  wait(key: string, who: S): void {
    const waiting = this.#waiting.get(key);
    if (waiting) waiting.add(who);
    else this.#waiting.set(key, new Set([who]));
  }

  isDrained(key: string): boolean {
    return !this.#waiting.has(key);
  }

  /** `who` sends none to `keys` any more. Returns those that are drained by that. */
  settle(keys: Iterable<string>, who: S): readonly string[] {
    const drained: string[] = [];
    for (const key of keys) {
      const waiting = this.#waiting.get(key);
      if (!waiting?.delete(who) || waiting.size > 0) continue;
      this.#waiting.delete(key);
      drained.push(key);
    }
    return drained;
  }

  /** `who` is gone. Returns the keys that are drained by that. */
  forget(who: S): readonly string[] {
    return this.settle([...this.#waiting.keys()], who);
  }

  /** The endpoint is gone: nobody needs to know. */
  drop(key: string): void {
    this.#waiting.delete(key);
  }
}
