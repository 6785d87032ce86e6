/** Pure: no clock, no I/O, no randomness. */

/** What an item of a `NodeList` keeps for it. An item is in one list at most. */
export interface Listed<T> {
  list: unknown;
  next: T | undefined;
  previous: T | undefined;
}

/** Items in the order in which they came, as a Set has them, but through links of their own: however many they are, nothing is copied to grow. */
export class NodeList<T extends Listed<T>> {
  #first: T | undefined;
  #last: T | undefined;

  /** REQUIRES: the item is in no list. */
  add(item: T): void {
    item.list = this;
    item.previous = this.#last;
    if (this.#last === undefined) this.#first = item;
    else this.#last.next = item;
    this.#last = item;
  }

  /** An item that is not in this list stays where it is. */
  delete(item: T): void {
    if (item.list !== this) return;
    const { previous, next } = item;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    item.list = undefined;
    item.previous = undefined;
    item.next = undefined;
  }

  /** The list must not change meanwhile. */
  *[Symbol.iterator](): Generator<T> {
    for (let item = this.#first; item !== undefined; item = item.next) yield item;
  }
}
