import {
  Cluster,
  Config,
  Extension,
  Network,
  Node,
  Resource,
  Secret,
  Service,
  StoreAction,
  StoreActionKind,
  StoreSnapshot,
  Task,
  Volume,
} from "@starling/api";
import { expect, it } from "vitest";
import { type Kind, kinds, MemoryStore, tableName } from "./index.ts";

/** Field 1999, a string: something that a later version has and this one does not know. */
const laterField = Buffer.of(0xfa, 0x7c, 3, 0x6e, 0x65, 0x77);

interface Codec {
  encode(object: { readonly id: string }): Uint8Array;
  decode(bytes: Uint8Array): { readonly id: string };
  create(fields: { readonly id: string }): { readonly id: string };
}
const codecs = {
  cluster: Cluster,
  config: Config,
  extension: Extension,
  network: Network,
  node: Node,
  resource: Resource,
  secret: Secret,
  service: Service,
  task: Task,
  volume: Volume,
};
const codecOf = (kind: Kind) => codecs[kind] as unknown as Codec;

/** An object of the kind that a later version wrote. */
function later(kind: Kind, id: string): { readonly id: string } {
  const codec = codecOf(kind);
  return codec.decode(Buffer.concat([codec.encode(codec.create({ id })), laterField]));
}

it("gives every table as it came off the wire, with the fields that this version does not know", () => {
  const lists = kinds.map((kind) => [tableName(kind), ["a", "b", "c"].map((id) => later(kind, `${kind}-${id}`))]);
  const received = StoreSnapshot.encode(StoreSnapshot.create(Object.fromEntries(lists)));
  const store = new MemoryStore();
  store.restore(StoreSnapshot.decode(received));
  const sent = StoreSnapshot.encode(store.snapshot());
  expect(Buffer.from(sent).equals(received)).toBe(true);
  expect(Buffer.from(sent).toString("latin1").split(laterField.toString("latin1"))).toHaveLength(kinds.length * 3 + 1);
  for (const kind of kinds) expect(store.view((tx) => tx[tableName(kind)].size)).toBe(3);
});

it("keeps unknown fields of what comes by the log, and through an update of what is known", async () => {
  const store = new MemoryStore();
  const action = StoreActionKind.STORE_ACTION_CREATE;
  for (const [at, kind] of kinds.entries()) {
    const entry = StoreAction.decode(StoreAction.encode(StoreAction.create({ action, [kind]: later(kind, "x") })));
    store.applyActions([entry], at + 1);
  }
  await store.update((tx) => {
    for (const kind of kinds) {
      const table = tx[tableName(kind)] as (typeof tx)["tasks"];
      table.update({ ...table.get("x")! });
    }
  });
  for (const kind of kinds) {
    const bytes = codecOf(kind).encode(store.view((tx) => tx[tableName(kind)].get("x")!));
    expect(Buffer.from(bytes).includes(laterField)).toBe(true);
  }
});
