/** Pure: no clock, no I/O, no randomness. */
import { assert, SwarmError } from "@starling/base";
import { type Kind, type ObjectOf, tableName } from "../objects.ts";
import { type By, type IndexName, SEPARATOR } from "../query.ts";
import { emptyTree, type Tree } from "./btree.ts";
import type { Index, TableSchema } from "./index-key.ts";

/** What a transaction may read of one kind of object. Objects are shared and never mutated. */
export interface ReadTable<K extends Kind> {
  readonly size: number;
  get(id: string): ObjectOf[K] | undefined;
  /** Objects that every finder selects (all without one), in order of the first finder's keys, then of ids. */
  find(...by: readonly By<K>[]): readonly ObjectOf[K][];
}

/**
 * One kind's objects by id, and the indexes over them, as copy-on-write trees: `fork` costs nothing that grows, and
 * what was forked from never changes. Index entries are `key NUL id`.
 */
export class Table<K extends Kind> implements ReadTable<K> {
  readonly kind: K;
  readonly #schema: TableSchema<ObjectOf[K]>;
  #byId: Tree<ObjectOf[K]>;
  readonly #indexes: Tree<undefined>[];
  /** Bit i: `#indexes[i]` belongs to this fork alone; the highest bit stands for `#byId`. */
  #owned: number;

  private constructor(kind: K, schema: TableSchema<ObjectOf[K]>, byId: Tree<ObjectOf[K]>, indexes: Tree<undefined>[]) {
    this.kind = kind;
    this.#schema = schema;
    this.#byId = byId;
    this.#indexes = indexes;
    this.#owned = 0;
  }

  static empty<K extends Kind>(kind: K, schema: TableSchema<ObjectOf[K]>): Table<K> {
    assert(schema.indexes.length < 30, "a table has more indexes than bits to track them");
    const trees = schema.indexes.map(() => emptyTree<undefined>());
    return new Table(kind, schema, emptyTree<ObjectOf[K]>(), trees);
  }

  /** A table with the same content that may be changed. */
  fork(): Table<K> {
    return new Table(this.kind, this.#schema, this.#byId, this.#indexes.slice());
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): ObjectOf[K] | undefined {
    return this.#byId.get(id);
  }

  /** All objects in order of their ids, read as they are asked for. REQUIRES: the table is not changed meanwhile. */
  values(): IterableIterator<ObjectOf[K]> {
    return this.#byId.values();
  }

  find(...by: readonly By<K>[]): readonly ObjectOf[K][] {
    const [first, ...rest] = by;
    if (first === undefined) return this.#byId.valuesArray();
    const found: ObjectOf[K][] = [];
    this.#collect(first, rest.length === 0 ? found : filtered(found, (object) => this.#meets(rest, object)));
    return found;
  }

  /** The object that holds a unique key of `object`, if it is not the object itself. */
  conflicting(object: ObjectOf[K]): ObjectOf[K] | undefined {
    for (const [at, index] of this.#schema.indexes.entries()) {
      const key = index.unique ? index.keysOf(object) : undefined;
      if (typeof key !== "string" || key === "") continue;
      for (const id of idsInRange(this.#indexes[at]!, key + SEPARATOR)) {
        if (id !== object.id) return this.get(id);
      }
    }
    return undefined;
  }

  nameOf(object: ObjectOf[K]): string {
    return this.#schema.nameOf(object);
  }

  /** Stores `object` under its id in place of `old`, which is what the table holds under that id. */
  put(object: ObjectOf[K], old: ObjectOf[K] | undefined): void {
    this.#ownById().set(object.id, object);
    for (const [at, index] of this.#schema.indexes.entries()) {
      if (index.scanned) continue;
      const after = index.keysOf(object);
      const before = old && index.keysOf(old);
      if (sameKeys(before, after)) continue;
      const tree = this.#ownIndex(at);
      for (const key of listed(before)) tree.delete(key + SEPARATOR + object.id);
      for (const key of listed(after)) tree.set(key + SEPARATOR + object.id, undefined);
    }
  }

  /** Removes an object that the table holds. */
  remove(object: ObjectOf[K]): void {
    this.#ownById().delete(object.id);
    for (const [at, index] of this.#schema.indexes.entries()) {
      const keys = index.scanned ? noKeys : listed(index.keysOf(object));
      if (keys.length === 0) continue;
      const tree = this.#ownIndex(at);
      for (const key of keys) tree.delete(key + SEPARATOR + object.id);
    }
  }

  #ownById(): Tree<ObjectOf[K]> {
    if ((this.#owned & (1 << 30)) === 0) {
      this.#byId = this.#byId.clone();
      this.#owned |= 1 << 30;
    }
    return this.#byId;
  }

  #ownIndex(at: number): Tree<undefined> {
    if ((this.#owned & (1 << at)) === 0) {
      this.#indexes[at] = this.#indexes[at]!.clone();
      this.#owned |= 1 << at;
    }
    return this.#indexes[at]!;
  }

  #collect(by: By, found: Sink<ObjectOf[K]>): void {
    switch (by.t) {
      case "all":
        this.#byId.forEachPair((_id, object) => found.push(object));
        return;
      case "or": {
        const union = new Map<string, ObjectOf[K]>();
        for (const each of by.any) this.#collect(each, { push: (object) => union.set(object.id, object) });
        for (const object of union.values()) found.push(object);
        return;
      }
      case "index":
        break;
    }
    if (by.index === "id") {
      if (by.prefix) {
        this.#byId.forRange(by.key, `${by.key}\uffff`, false, (_id, object) => found.push(object));
        return;
      }
      const object = this.get(by.key);
      if (object !== undefined) found.push(object);
      return;
    }
    const { index, at } = this.#index(by.index);
    if (index.scanned) {
      const accept = filtered(found, (object) => meets(by, listed(index.keysOf(object))));
      this.#byId.forEachPair((_id, object) => accept.push(object));
      return;
    }
    const ids = idsInRange(this.#indexes[at]!, by.prefix ? by.key : by.key + SEPARATOR);
    for (const id of ids) found.push(this.get(id)!);
  }

  #meets(by: readonly By[], object: ObjectOf[K]): boolean {
    return by.every((each) => {
      if (each.t === "all") return true;
      if (each.t === "or") return each.any.some((alternative) => this.#meets([alternative], object));
      const keys = each.index === "id" ? [object.id] : listed(this.#index(each.index).index.keysOf(object));
      return meets(each, keys);
    });
  }

  #index(name: IndexName): { readonly index: Index<ObjectOf[K]>; readonly at: number } {
    const at = this.#schema.indexes.findIndex((index) => index.name === name);
    const index = this.#schema.indexes[at];
    if (index !== undefined) return { index, at };
    throw new SwarmError("InvalidArgument", `${tableName(this.kind)} cannot be found by ${name}`);
  }
}

const noKeys: readonly string[] = [];

function listed(keys: string | readonly string[] | undefined): readonly string[] {
  return keys === undefined ? noKeys : typeof keys === "string" ? [keys] : keys;
}

function sameKeys(a: string | readonly string[] | undefined, b: string | readonly string[] | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object") return listed(a).length === 0 && listed(b).length === 0;
  return a.length === b.length && a.every((key, at) => key === b[at]);
}

function meets(by: { readonly key: string; readonly prefix: boolean }, keys: readonly string[]): boolean {
  return keys.some((key) => (by.prefix ? key.startsWith(by.key) : key === by.key));
}

/** Where found objects go: an array, or what stands before one. */
interface Sink<T> {
  push(object: T): void;
}

function filtered<T>(found: Sink<T>, accept: (object: T) => boolean): Sink<T> {
  return {
    push(object) {
      if (accept(object)) found.push(object);
    },
  };
}

/** Ids of the entries that start with `prefix`, in order. */
function idsInRange(tree: Tree<undefined>, prefix: string): readonly string[] {
  const ids: string[] = [];
  const end = prefix.endsWith(SEPARATOR) ? `${prefix.slice(0, -1)}\x01` : `${prefix}\uffff`;
  tree.forRange(prefix, end, false, (entry) => {
    ids.push(entry.slice(entry.lastIndexOf(SEPARATOR) + 1));
  });
  return ids;
}
