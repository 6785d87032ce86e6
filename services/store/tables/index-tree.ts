/** Pure: no clock, no I/O, no randomness. */
import { OrderedMap, type Owner } from "./ordered-map.ts";

/** Several ids under one key: a map of each to itself. */
type IdSet = OrderedMap<string>;

/**
 * One index of a table: keys to the ids of the objects that have them. A key with one id holds the id itself, so that
 * indexes whose keys are nearly unique cost no more than a map. Copy-on-write, as OrderedMap.
 */
export class IndexTree {
  readonly #map: OrderedMap<string | IdSet>;

  private constructor(map: OrderedMap<string | IdSet>) {
    this.#map = map;
  }

  static empty(owner: Owner): IndexTree {
    return new IndexTree(OrderedMap.empty(owner));
  }

  /** See OrderedMap. */
  edit(owner: Owner): IndexTree {
    return this.#map.owner === owner ? this : new IndexTree(this.#map.edit(owner));
  }

  /** Files `id` under `key`. */
  add(key: string, id: string): void {
    const ids = this.#map.get(key);
    if (ids === undefined) this.#map.set(key, id);
    else if (ids !== id) this.#replace(key, ids, withId(ids, id, this.#map.owner));
  }

  /** Takes `id` from under `key`, if it is there. */
  remove(key: string, id: string): void {
    const ids = this.#map.get(key);
    if (ids === id) this.#map.delete(key);
    else if (typeof ids === "object") this.#replace(key, ids, withoutId(ids, id, this.#map.owner));
  }

  #replace(key: string, ids: string | IdSet, by: string | IdSet): void {
    if (ids !== by) this.#map.set(key, by);
  }

  /** The ids under exactly `key`, in order. */
  idsOf(key: string): readonly string[] {
    const ids = this.#map.get(key);
    if (ids === undefined) return noIds;
    return typeof ids === "string" ? [ids] : ids.values();
  }

  /** As `idsOf`, some at a time. */
  *partsOf(key: string): Generator<readonly string[]> {
    const ids = this.#map.get(key);
    if (typeof ids === "string") yield [ids];
    else if (ids !== undefined) yield* ids.parts();
  }

  /** As `idsOfPrefix`, some at a time. */
  *partsOfPrefix(prefix: string): Generator<readonly string[]> {
    for (const part of this.#map.partsOfPrefix(prefix)) {
      yield part.flatMap((ids) => (typeof ids === "string" ? ids : ids.values()));
    }
  }

  /** The ids under all keys that start with `prefix`, in order of keys, then of ids. */
  idsOfPrefix(prefix: string): readonly string[] {
    const found: string[] = [];
    this.#map.forPrefix(prefix, (ids) => {
      if (typeof ids === "string") found.push(ids);
      else for (const id of ids.values()) found.push(id);
    });
    return found;
  }
}

const noIds: readonly string[] = [];

function withId(ids: string | IdSet, id: string, owner: Owner): IdSet {
  const set = typeof ids === "string" ? OrderedMap.empty<string>(owner) : ids.edit(owner);
  if (typeof ids === "string") set.set(ids, ids);
  set.set(id, id);
  return set;
}

function withoutId(ids: IdSet, id: string, owner: Owner): string | IdSet {
  const set = ids.edit(owner);
  set.delete(id);
  return set.size === 1 ? set.values()[0]! : set;
}
