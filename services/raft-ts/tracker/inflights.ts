/** Pure: no clock, no I/O, no randomness. */
import { RaftInvariantError } from "../errors.ts";

/**
 * A sliding window over the MsgApp sent to one peer and not yet acknowledged, bounded by count and by bytes. The byte
 * bound is soft: the message that crosses it is still let through.
 */
export class Inflights {
  readonly #countMax: number;
  readonly #bytesMax: number;
  // A ring that grows by doubling up to #countMax. Slot i holds the last index and the bytes of one message.
  #indexes: number[] = [];
  #bytesOf: number[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;

  /** @param bytesMax 0 = no byte limit. */
  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  isFull(): boolean {
    return this.#count === this.#countMax || (this.#bytesMax !== 0 && this.#bytes >= this.#bytesMax);
  }

  /** A message whose last entry is `index` goes out. REQUIRES: not full; indexes never fall. */
  add(index: number, bytes: number): void {
    if (this.isFull())
      throw new RaftInvariantError(`inflight ${this.#count} of ${this.#countMax}: cannot add to a full window`);
    if (this.#count === this.#indexes.length) this.#grow();
    const slot = (this.#start + this.#count) % this.#indexes.length;
    this.#indexes[slot] = index;
    this.#bytesOf[slot] = bytes;
    this.#count++;
    this.#bytes += bytes;
  }

  /** The peer acknowledged everything up to and including `index`. */
  freeLE(index: number): void {
    while (this.#count > 0 && this.#indexes[this.#start]! <= index) {
      this.#bytes -= this.#bytesOf[this.#start]!;
      this.#start = (this.#start + 1) % this.#indexes.length;
      this.#count--;
    }
    if (this.#count === 0) this.#start = 0;
  }

  reset(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  /** An equal window that shares nothing. */
  clone(): Inflights {
    const copy = new Inflights(this.#countMax, this.#bytesMax);
    for (let i = 0; i < this.#count; i++) {
      const slot = (this.#start + i) % this.#indexes.length;
      copy.#indexes.push(this.#indexes[slot]!);
      copy.#bytesOf.push(this.#bytesOf[slot]!);
    }
    copy.#count = this.#count;
    copy.#bytes = this.#bytes;
    return copy;
  }

  #grow(): void {
    const size = Math.min(Math.max(1, this.#indexes.length * 2), this.#countMax);
    const indexes = new Array<number>(size).fill(0);
    const bytesOf = new Array<number>(size).fill(0);
    for (let i = 0; i < this.#count; i++) {
      const slot = (this.#start + i) % this.#indexes.length;
      indexes[i] = this.#indexes[slot]!;
      bytesOf[i] = this.#bytesOf[slot]!;
    }
    this.#indexes = indexes;
    this.#bytesOf = bytesOf;
    this.#start = 0;
  }
}
