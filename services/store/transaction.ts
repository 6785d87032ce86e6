/** Pure: no clock, no I/O, no randomness. */
import { type Meta, type Timestamp, Version } from "@starling/api";
import { SwarmError } from "@starling/base";
import { type Kind, type ObjectEvent, type ObjectOf, type StoreObject, tableName } from "./objects.ts";
import { all, type By } from "./query.ts";
import type { ReadTx, Root } from "./tables/root.ts";
import type { ReadTable, Table } from "./tables/table.ts";

/** What a transaction may do to one kind of object. What it did is visible to its own reads at once. */
export interface WriteTable<K extends Kind> extends ReadTable<K> {
  /** Returns the stored object, with meta. Throws AlreadyExists when the id or a unique name is taken. */
  create(object: ObjectOf[K]): ObjectOf[K];
  /**
   * Returns the stored object, with its new version. Throws NotFound, FailedPrecondition "update out of sequence" when
   * `meta.version` isn't the stored one, AlreadyExists when a unique name is taken.
   */
  update(object: ObjectOf[K]): ObjectOf[K];
  /** Throws NotFound. */
  delete(id: string): void;
}

/** What `update` hands out; valid only within its callback. */
export type WriteTx = { readonly [K in Kind as `${K}s`]: WriteTable<K> };

/** Runs a lookup and may note how long it took. */
export type LookupTimer = <T>(lookup: () => T) => T;

/** The changes of one callback on top of `base`, which stays as it is. */
export class Transaction implements WriteTx {
  readonly changes: ObjectEvent[] = [];
  readonly #base: Root;
  readonly #version: Version;
  readonly #now: Timestamp;
  readonly #timeLookup: LookupTimer;
  readonly #open = new Map<Kind, OpenTable<Kind>>();
  #closed = false;

  constructor(base: Root, version: number, now: Timestamp, timeLookup: LookupTimer = (lookup) => lookup()) {
    this.#base = base;
    this.#version = Version.create({ index: version });
    this.#now = now;
    this.#timeLookup = timeLookup;
  }

  get clusters(): WriteTable<"cluster"> {
    return this.#table("cluster");
  }
  get configs(): WriteTable<"config"> {
    return this.#table("config");
  }
  get extensions(): WriteTable<"extension"> {
    return this.#table("extension");
  }
  get networks(): WriteTable<"network"> {
    return this.#table("network");
  }
  get nodes(): WriteTable<"node"> {
    return this.#table("node");
  }
  get resources(): WriteTable<"resource"> {
    return this.#table("resource");
  }
  get secrets(): WriteTable<"secret"> {
    return this.#table("secret");
  }
  get services(): WriteTable<"service"> {
    return this.#table("service");
  }
  get tasks(): WriteTable<"task"> {
    return this.#table("task");
  }
  get volumes(): WriteTable<"volume"> {
    return this.#table("volume");
  }

  /** Ends the transaction and gives the state after it. */
  close(): Root {
    this.#closed = true;
    if (this.changes.length === 0) return this.#base;
    const changed = [...this.#open].map(([kind, table]) => [tableName(kind), table.current]);
    return { ...this.#base, ...Object.fromEntries(changed) };
  }

  /** New meta for an object written now, created at `old`'s time if it replaces one. */
  stamp(object: StoreObject, old: StoreObject | undefined): Meta {
    const createdAt = (old ?? object).meta.createdAt ?? this.#now;
    return { ...object.meta, version: this.#version, createdAt, updatedAt: this.#now };
  }

  record(change: ObjectEvent): void {
    if (this.#closed) throw new Error("transaction used after its callback returned");
    this.changes.push(change);
  }

  #table<K extends Kind>(kind: K): WriteTable<K> {
    let table = this.#open.get(kind);
    if (table === undefined) {
      table = new OpenTable<Kind>(this, this.#base[tableName(kind)] as unknown as Table<Kind>, this.#timeLookup);
      this.#open.set(kind, table);
    }
    return table as unknown as WriteTable<K>;
  }
}

class OpenTable<K extends Kind> implements WriteTable<K> {
  readonly #tx: Transaction;
  readonly #base: Table<K>;
  readonly #timeLookup: LookupTimer;
  /** The fork, made at the first write. */
  #fork: Table<K> | undefined;

  constructor(tx: Transaction, base: Table<K>, timeLookup: LookupTimer) {
    this.#tx = tx;
    this.#base = base;
    this.#timeLookup = timeLookup;
  }

  get current(): Table<K> {
    return this.#fork ?? this.#base;
  }

  get size(): number {
    return this.current.size;
  }

  get(id: string): ObjectOf[K] | undefined {
    return this.#timeLookup(() => this.current.get(id));
  }

  find(...by: readonly By<K>[]): readonly ObjectOf[K][] {
    return this.current.find(...by);
  }

  /** Found at once: the trees must not be written to while they are iterated over. */
  *each(by: By<K> = all): Generator<ObjectOf[K]> {
    yield* this.find(by);
  }

  create(object: ObjectOf[K]): ObjectOf[K] {
    const { kind } = this.current;
    if (object.id === "") throw new SwarmError("InvalidArgument", `${kind} has no id: give it one of newId()`);
    if (this.get(object.id)) throw new SwarmError("AlreadyExists", `${kind} ${object.id} already exists`);
    return this.#put("create", object, undefined);
  }

  update(object: ObjectOf[K]): ObjectOf[K] {
    const old = this.#existing(object.id);
    if (old.meta.version.index !== object.meta.version.index) {
      throw new SwarmError(
        "FailedPrecondition",
        `update out of sequence: ${this.current.kind} ${object.id} is at version ${old.meta.version.index}, ` +
          `the update is based on ${object.meta.version.index}; read it again`,
      );
    }
    return this.#put("update", object, old);
  }

  delete(id: string): void {
    const object = this.#existing(id);
    this.#tx.record({ kind: this.current.kind, action: "remove", object } as ObjectEvent);
    this.#writable().remove(object);
  }

  #put(action: "create" | "update", object: ObjectOf[K], old: ObjectOf[K] | undefined): ObjectOf[K] {
    const { kind } = this.current;
    const rival = this.current.conflicting(object);
    if (rival !== undefined) {
      const name = this.current.nameOf(rival);
      throw new SwarmError("AlreadyExists", `name conflicts with an existing object: ${kind} "${name}" (${rival.id})`);
    }
    const stored = { ...object, meta: this.#tx.stamp(object, old) };
    const change = old === undefined ? { kind, action, object: stored } : { kind, action, object: stored, old };
    this.#tx.record(change as unknown as ObjectEvent);
    this.#writable().put(stored, old);
    return stored;
  }

  #existing(id: string): ObjectOf[K] {
    const object = this.get(id);
    if (object === undefined) throw new SwarmError("NotFound", `${this.current.kind} ${id} not found`);
    return object;
  }

  #writable(): Table<K> {
    this.#fork ??= this.#base.fork();
    return this.#fork;
  }
}

export type { ReadTx };
