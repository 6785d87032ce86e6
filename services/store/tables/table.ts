/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base";
import { type Kind, type ObjectOf, tableName } from "../objects.ts";
import { all, type By, type IndexName } from "../query.ts";
import type { Index, TableSchema } from "./index-key.ts";
import { IndexTree } from "./index-tree.ts";
import { OrderedMap, type Owner } from "./ordered-map.ts";

/** What a transaction may read of one kind of object. Objects are shared and never mutated. */
export interface ReadTable<K extends Kind> {
  readonly size: number;
  get(id: string): ObjectOf[K] | undefined;
  /** Objects that every finder selects (all without one), in order of the first finder's keys, then of ids. */
  find(...by: readonly By<K>[]): readonly ObjectOf[K][];
  /** As `find`, but looks for objects as the iteration comes to them: for long work that is done in slices. */
  each(by?: By<K>): Generator<ObjectOf[K]>;
}

/**
 * One kind's objects by id, and the indexes over them, as copy-on-write trees: `fork` costs nothing that grows, and
 * what was forked from never changes.
 */
export class Table<K extends Kind> implements ReadTable<K> {
  readonly kind: K;
  readonly #schema: TableSchema<ObjectOf[K]>;
  /** Of the trees that this fork has written to; the others it shares with what it was forked from. */
  readonly #owner: Owner = {};
  #byId: OrderedMap<ObjectOf[K]>;
  readonly #indexes: IndexTree[];

  private constructor(kind: K, schema: TableSchema<ObjectOf[K]>, byId: OrderedMap<ObjectOf[K]>, indexes: IndexTree[]) {
    this.kind = kind;
    this.#schema = schema;
    this.#byId = byId;
    this.#indexes = indexes;
  }

  static empty<K extends Kind>(kind: K, schema: TableSchema<ObjectOf[K]>): Table<K> {
    const owner = {};
    const indexes = schema.indexes.map(() => IndexTree.empty(owner));
    return new Table(kind, schema, OrderedMap.empty<ObjectOf[K]>(owner), indexes);
  }

  /** A table with the same content that may be changed. This one may not from now on. */
  fork(): Table<K> {
    return new Table(this.kind, this.#schema, this.#byId, this.#indexes.slice());
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: string): ObjectOf[K] | undefined {
    return this.#byId.get(id);
  }

  find(...by: readonly By<K>[]): readonly ObjectOf[K][] {
    const [first, ...rest] = by;
    if (first === undefined) return this.#byId.values();
    const found: ObjectOf[K][] = [];
    this.#collect(first, rest.length === 0 ? found : filtered(found, (object) => this.#meets(rest, object)));
    return found;
  }

  *each(by: By<K> = all): Generator<ObjectOf[K]> {
    if (by.t === "all") {
      for (const part of this.#byId.parts()) yield* part;
      return;
    }
    const tree = by.t === "index" && by.index !== "id" ? this.#lookUp(by.index) : undefined;
    if (tree === undefined || by.t !== "index") {
      yield* this.find(by);
      return;
    }
    const parts = by.prefix ? tree.partsOfPrefix(by.key) : tree.partsOf(by.key);
    for (const part of parts) for (const id of part) yield this.get(id)!;
  }

  /** The object that holds a unique key of `object`, if it is not the object itself. */
  conflicting(object: ObjectOf[K]): ObjectOf[K] | undefined {
    const { indexes } = this.#schema;
    for (let at = 0; at < indexes.length; at++) {
      const index = indexes[at]!;
      const key = index.unique ? index.keysOf(object) : undefined;
      if (typeof key !== "string" || key === "") continue;
      for (const id of this.#indexes[at]!.idsOf(key)) {
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
    this.#byId = this.#byId.edit(this.#owner);
    // The id string that is there already is kept: those of decoded objects are copies.
    const id = old?.id ?? object.id;
    this.#byId.set(id, object);
    const { indexes } = this.#schema;
    for (let at = 0; at < indexes.length; at++) {
      const index = indexes[at]!;
      if (index.scanned || (old !== undefined && index.same?.(old, object))) continue;
      const after = index.keysOf(object);
      const before = old && index.keysOf(old);
      if (sameKeys(before, after)) continue;
      const tree = this.#editIndex(at);
      for (const key of listed(before)) tree.remove(key, id);
      for (const key of listed(after)) tree.add(key, id);
    }
  }

  /** Removes an object that the table holds. */
  remove(object: ObjectOf[K]): void {
    this.#byId = this.#byId.edit(this.#owner);
    this.#byId.delete(object.id);
    for (const [at, index] of this.#schema.indexes.entries()) {
      const keys = index.scanned ? noKeys : listed(index.keysOf(object));
      if (keys.length === 0) continue;
      const tree = this.#editIndex(at);
      for (const key of keys) tree.remove(key, object.id);
    }
  }

  #editIndex(at: number): IndexTree {
    const tree = this.#indexes[at]!.edit(this.#owner);
    this.#indexes[at] = tree;
    return tree;
  }

  #collect(by: By, found: Sink<ObjectOf[K]>): void {
    switch (by.t) {
      case "all":
        for (const object of this.#byId.values()) found.push(object);
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
        this.#byId.forPrefix(by.key, (object) => found.push(object));
        return;
      }
      const object = this.get(by.key);
      if (object !== undefined) found.push(object);
      return;
    }
    const { index, at } = this.#index(by.index);
    if (index.scanned) {
      const accept = filtered(found, (object) => meets(by, listed(index.keysOf(object))));
      for (const object of this.#byId.values()) accept.push(object);
      return;
    }
    const tree = this.#indexes[at]!;
    for (const id of by.prefix ? tree.idsOfPrefix(by.key) : tree.idsOf(by.key)) found.push(this.get(id)!);
  }

  #meets(by: readonly By[], object: ObjectOf[K]): boolean {
    return by.every((each) => {
      if (each.t === "all") return true;
      if (each.t === "or") return each.any.some((alternative) => this.#meets([alternative], object));
      const keys = each.index === "id" ? [object.id] : listed(this.#index(each.index).index.keysOf(object));
      return meets(each, keys);
    });
  }

  /** The index's tree; undefined when it has none. */
  #lookUp(name: IndexName): IndexTree | undefined {
    const { index, at } = this.#index(name);
    return index.scanned ? undefined : this.#indexes[at];
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
