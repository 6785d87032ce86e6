/** Pure: no clock, no I/O, no randomness. */
import { StoreSnapshot } from "@starling/api";
import { type Kind, kinds, type StoreObject, tableName } from "../objects.ts";
import { schemas } from "./schema.ts";
import { type ReadTable, Table } from "./table.ts";

/** What `view` hands out: a consistent snapshot that stays valid for as long as it is kept. */
export type ReadTx = { readonly [K in Kind as `${K}s`]: ReadTable<K> };

/** All tables at one moment. Never changes. */
export type Root = { readonly [K in Kind as `${K}s`]: Table<K> };

export const emptyRoot: Root = Object.fromEntries(
  kinds.map((kind) => [tableName(kind), Table.empty<Kind>(kind, schemas[kind] as never)]),
) as unknown as Root;

/** All objects, at most `size` in a part, in order of kinds and ids; read as they are asked for. */
export function* rootToParts(root: Root, size: number): Generator<StoreSnapshot> {
  for (const kind of kinds) {
    let part: StoreObject[] = [];
    for (const object of root[tableName(kind)].each()) {
      part.push(object);
      if (part.length < size) continue;
      yield StoreSnapshot.create({ [tableName(kind)]: part });
      part = [];
    }
    if (part.length > 0) yield StoreSnapshot.create({ [tableName(kind)]: part });
  }
}

export function rootToSnapshot(root: Root): StoreSnapshot {
  const lists = kinds.map((kind) => [tableName(kind), root[tableName(kind)].find()]);
  return StoreSnapshot.create(Object.fromEntries(lists));
}
