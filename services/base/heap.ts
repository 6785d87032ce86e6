/** Pure: no clock, no I/O, no randomness. */
import { STEP_ITEMS, type Steps } from "./steps.ts";

/** A binary heap: the top is the item that `before` puts before all others. */
export class Heap<T> {
  #items: T[] = [];
  readonly #before: (a: T, b: T) => boolean;

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  /** A heap of `items`, which it takes over. */
  static *of<T>(before: (a: T, b: T) => boolean, items: T[]): Steps<Heap<T>> {
    const heap = new Heap(before);
    heap.#items = items;
    for (let at = (items.length >> 1) - 1; at >= 0; at--) {
      heap.#sink(at);
      if (at % STEP_ITEMS === 0) yield undefined;
    }
    return heap;
  }

  get size(): number {
    return this.#items.length;
  }

  get top(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(item, items[parent]!)) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  pop(): void {
    const last = this.#items.pop();
    if (this.#items.length > 0) this.replaceTop(last!);
  }

  replaceTop(item: T): void {
    this.#items[0] = item;
    this.#sink(0);
  }

  /** Restores the order after the top item's rank fell. */
  topChanged(): void {
    this.#sink(0);
  }

  /** Hands over the items, in no order; the heap must not be used after. */
  release(): T[] {
    return this.#items;
  }

  #sink(start: number): void {
    const items = this.#items;
    const item = items[start]!;
    let at = start;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.#before(items[child + 1]!, items[child]!)) child++;
      if (!this.#before(items[child]!, item)) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = item;
  }
}
