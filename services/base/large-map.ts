/** Pure: no clock, no I/O, no randomness. */

const shardBits = 6;

/** By the last three characters, in which ids that are drawn differ, and those that are counted; NaN, before a short one, counts as 0. */
export function shardOf(id: string): number {
  const end = id.length;
  const word = id.charCodeAt(end - 1) | (id.charCodeAt(end - 2) << 8) | (id.charCodeAt(end - 3) << 16);
  // Fibonacci hashing: the upper bits of the product depend on all of the word's.
  return Math.imul(word, 0x9e3779b1) >>> (32 - shardBits);
}

/**
 * A map by id that may have very many entries: it grows one shard at a time. A Map that grows past 65,536 entries holds the thread
 * for milliseconds, and the maps of all who keep the same objects do so at once. Without order.
 */
export class LargeMap<V> {
  readonly #shards = Array.from({ length: 1 << shardBits }, () => new Map<string, V>());

  get size(): number {
    return this.#shards.reduce((sum, shard) => sum + shard.size, 0);
  }

  get(id: string): V | undefined {
    return this.#shardOf(id).get(id);
  }

  has(id: string): boolean {
    return this.#shardOf(id).has(id);
  }

  set(id: string, value: V): void {
    this.#shardOf(id).set(id, value);
  }

  /** Whether it was there. */
  delete(id: string): boolean {
    return this.#shardOf(id).delete(id);
  }

  *values(): Generator<V> {
    for (const shard of this.#shards) yield* shard.values();
  }

  #shardOf(id: string): Map<string, V> {
    return this.#shards[shardOf(id)]!;
  }
}
