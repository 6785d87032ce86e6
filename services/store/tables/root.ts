/** Pure: no clock, no I/O, no randomness. */
import { StoreSnapshot } from "@starling/api";
import type { Interner } from "../intern.ts";
import { type Kind, kinds, type ObjectEvent, tableName } from "../objects.ts";
import { schemas } from "./schema.ts";
import { type ReadTable, Table } from "./table.ts";

/** What `view` hands out: a consistent snapshot that stays valid for as long as it is kept. */
export type ReadTx = { readonly [K in Kind as `${K}s`]: ReadTable<K> };

/** All tables at one moment. Never changes. */
export type Root = { readonly [K in Kind as `${K}s`]: Table<K> };

export const emptyRoot: Root = Object.fromEntries(
  kinds.map((kind) => [tableName(kind), Table.empty<Kind>(kind, schemas[kind] as never)]),
) as unknown as Root;

export function rootToSnapshot(root: Root): StoreSnapshot {
  const lists = kinds.map((kind) => [tableName(kind), root[tableName(kind)].find()]);
  return StoreSnapshot.create(Object.fromEntries(lists));
}

/** Throws when an id stands twice in one list. */
export function rootFromSnapshot(snapshot: StoreSnapshot, interner: Interner): Root {
  const tables = kinds.map((kind) => {
    const table = Table.empty<Kind>(kind, schemas[kind] as never);
    for (const object of snapshot[tableName(kind)]) {
      if (table.get(object.id)) throw new Error(`snapshot holds ${kind} ${object.id} twice`);
      table.put(interner.intern({ kind, action: "create", object } as ObjectEvent, undefined), undefined);
    }
    return [tableName(kind), table];
  });
  return Object.fromEntries(tables) as Root;
}
