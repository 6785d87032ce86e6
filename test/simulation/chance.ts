/** Pure: no clock, no I/O, no randomness. */
import { type Random, seededRandom } from "@starling/base";

/** All chance of a run, from one seed. */
export class Chance {
  readonly random: Random;

  constructor(seed: number) {
    this.random = seededRandom(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
  }

  /** True in `probability` of all cases. */
  happens(probability: number): boolean {
    return this.random() < probability;
  }

  /** Uniform in [from, to). */
  between(from: number, to: number): number {
    return from + this.random() * (to - from);
  }

  /** An integer in [0, count). */
  below(count: number): number {
    return Math.floor(this.random() * count);
  }

  /** One of `items`; undefined when there is none. */
  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }

  /** A source of its own, for a part that must not disturb the others' draws. */
  fork(): Chance {
    return new Chance(this.below(0x1_0000_0000));
  }
}
