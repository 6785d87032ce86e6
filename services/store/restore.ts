/** Pure: no clock, no I/O, no randomness. */
import type { StoreSnapshot } from "@starling/api";
import { Interner } from "./intern.ts";
import { type Kind, kinds, type ObjectEvent, type StoreObject, tableName } from "./objects.ts";
import { emptyRoot, type Root } from "./tables/root.ts";
import type { Table } from "./tables/table.ts";

/** Objects looked at in one piece of work. */
export const PART_OBJECTS_MAX = 200;

/** A state that is being built from a snapshot's parts, and how it differs from the one that it will replace. */
export class RestoredState {
  readonly interner = new Interner();
  readonly #before: Root;
  readonly #tables = new Map<Kind, Table<Kind>>();
  readonly #removed: ObjectEvent[] = [];
  readonly #written: ObjectEvent[] = [];
  #newestVersion = 0;
  /** Objects of `#before` that are in the new state too. */
  #kept = 0;

  constructor(before: Root) {
    this.#before = before;
  }

  /** Highest version among its objects. */
  get newestVersion(): number {
    return this.#newestVersion;
  }

  /** Throws when an id stands twice among objects of a kind. */
  add(part: StoreSnapshot): void {
    for (const kind of kinds) for (const object of part[tableName(kind)]) this.#put(kind, object);
  }

  /** The rest of the comparison, in pieces. Nothing may be added any more. */
  *compare(): Generator<void> {
    const before = kinds.reduce((sum, kind) => sum + this.#before[tableName(kind)].size, 0);
    if (this.#kept === before) return;
    let looked = 0;
    for (const kind of kinds) {
      const table = this.#table(kind);
      for (const object of this.#before[tableName(kind)].each()) {
        if (table.get(object.id) === undefined) this.#removed.push({ kind, action: "remove", object } as ObjectEvent);
        if (++looked % PART_OBJECTS_MAX === 0) yield;
      }
    }
  }

  get root(): Root {
    return Object.fromEntries(kinds.map((kind) => [tableName(kind), this.#table(kind)])) as unknown as Root;
  }

  /** What changes from the state before: removes, then creates and updates in the order of the parts. REQUIRES: compared. */
  get changes(): readonly ObjectEvent[] {
    return this.#removed.concat(this.#written);
  }

  #put(kind: Kind, object: StoreObject): void {
    const table = this.#table(kind);
    if (table.get(object.id)) throw new Error(`snapshot holds ${kind} ${object.id} twice`);
    const created = { kind, action: "create", object } as ObjectEvent;
    const shared = this.interner.intern(created, undefined);
    table.put(shared, undefined);
    this.#newestVersion = Math.max(this.#newestVersion, shared.meta.version.index);
    const old = (this.#before[tableName(kind)] as unknown as Table<Kind>).get(shared.id);
    if (old !== undefined) this.#kept++;
    if (old?.meta.version.index === shared.meta.version.index) return;
    const change = old === undefined ? { ...created, object: shared } : { kind, action: "update", object: shared, old };
    this.#written.push(change as ObjectEvent);
  }

  #table(kind: Kind): Table<Kind> {
    let table = this.#tables.get(kind);
    if (table === undefined) {
      table = (emptyRoot[tableName(kind)] as unknown as Table<Kind>).fork();
      this.#tables.set(kind, table);
    }
    return table;
  }
}
