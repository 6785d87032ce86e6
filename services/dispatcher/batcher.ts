import type { Clock, Millis } from "@starling/base";

/**
 * Gathers items and hands them on together: the first at once (the next turn of the event loop), those that come within
 * `windowMs` of the last hand-over when that window ends, or as soon as `limit` wait. A write does not wait for the one
 * before it (the store commits many in flight); callers learn how the write of their items ended.
 */
export class Batcher<T> {
  readonly #clock: Clock;
  readonly #windowMs: Millis;
  readonly #limit: number;
  readonly #write: (items: readonly T[]) => Promise<void>;
  #waiting: T[] = [];
  #handedOver: PromiseWithResolvers<void> | undefined;
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(options: {
    readonly clock: Clock;
    readonly windowMs: Millis;
    readonly limit: number;
    readonly write: (items: readonly T[]) => Promise<void>;
  }) {
    this.#clock = options.clock;
    this.#windowMs = options.windowMs;
    this.#limit = options.limit;
    this.#write = options.write;
  }

  /** Resolves when the items are written; rejects as the write does. */
  add(items: readonly T[]): Promise<void> {
    if (items.length === 0) return Promise.resolve();
    this.#waiting.push(...items);
    if (this.#handedOver === undefined) {
      this.#handedOver = Promise.withResolvers();
      const delayMs = this.#lastAt + this.#windowMs - this.#clock.monotonic();
      this.#clock.setTimer(Math.max(0, delayMs), () => this.#flush());
    }
    const { promise } = this.#handedOver;
    if (this.#waiting.length >= this.#limit) this.#flush();
    return promise;
  }

  #flush(): void {
    const items = this.#waiting;
    const handedOver = this.#handedOver;
    if (handedOver === undefined) return;
    this.#waiting = [];
    this.#handedOver = undefined;
    this.#lastAt = this.#clock.monotonic();
    this.#write(items).then(handedOver.resolve, handedOver.reject);
  }
}
