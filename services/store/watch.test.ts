import { Task } from "@starling/api";
import { SwarmError } from "@starling/base";
import fc from "fast-check";
import { expect, it } from "vitest";
import { FakeProposer } from "./fake-proposer.ts";
import { MemoryStore, type ReadTx, type StoreEvent } from "./index.ts";

/** What happens to a replicated store. */
const happening = fc.oneof(
  fc.record({ t: fc.constant("write" as const), id: fc.nat(7).map((n) => `t${n}`), remove: fc.boolean() }),
  fc.constantFrom({ t: "commit" as const }, { t: "abandon" as const }, { t: "watch" as const }),
);

const slots = (tx: ReadTx) => new Map(tx.tasks.find().map(({ id, slot }) => [id, slot]));

it("viewAndWatch gives a state and then exactly the changes that lead from it to the present one", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 60 }), async (happenings) => {
      const proposer = new FakeProposer();
      const store = new MemoryStore({ proposer });
      const watchers: { readonly state: Map<string, number>; readonly events: AsyncIterable<StoreEvent> }[] = [];
      for (const each of [...happenings, { t: "write" as const, id: "last", remove: false }]) {
        switch (each.t) {
          case "write":
            write(store, each.id, each.remove);
            break;
          case "commit":
            proposer.commit(1);
            break;
          case "abandon":
            proposer.pending.length = 0;
            store.abandonInFlight(new SwarmError("Unavailable", "outcome unknown"));
            break;
          case "watch": {
            const { value, events } = store.viewAndWatch(slots);
            watchers.push({ state: value, events });
          }
        }
      }
      proposer.commit();
      for (const { state, events } of watchers) {
        await replay(state, events, store.version);
        expect(state).toEqual(store.view(slots));
      }
    }),
  );
});

it("watchFrom gives what was committed since a version, then what follows, and says when it does not know", async () => {
  const store = new MemoryStore();
  const put = (id: string) => store.update((tx) => void tx.tasks.create(Task.create({ id })));
  await put("a");
  const { version } = store;
  await put("b");
  const events = store.watchFrom(version, { kinds: ["task"] })!;
  await put("c");
  expect(await take(events, 2)).toEqual(["b", "c"]);
  expect(() => store.watchFrom(store.version + 1)).toThrow(/ahead of this manager/);

  const restored = new MemoryStore();
  restored.restore(store.snapshot());
  expect(restored.watchFrom(restored.version)).toBeUndefined();
  await restored.update((tx) => tx.tasks.delete("a"));
  expect(restored.watchFrom(version)).toBeUndefined();
  expect(restored.watchFrom(restored.version)).toBeDefined();
});

it("a restored store counts deletions whose version no object bears: who goes on elsewhere sees nothing twice", async () => {
  const source = new MemoryStore();
  await source.update((tx) => void tx.tasks.create(Task.create({ id: "a" })));
  await source.update((tx) => tx.tasks.delete("a"));
  // An entry that is none of the store's comes last before the snapshot.
  const index = source.version + 1;
  source.reached(index);

  const restored = new MemoryStore();
  const events = restored.watch({ kinds: ["commit"] });
  restored.restore(source.snapshot(), index);
  for await (const { version } of events) {
    expect(version).toBe(index);
    break;
  }
  const elsewhere = source.watchFrom(index, { kinds: ["task"] })!;
  await source.update((tx) => void tx.tasks.create(Task.create({ id: "b" })));
  expect(await take(elsewhere, 1)).toEqual(["b"]);
});

async function take(events: AsyncIterable<StoreEvent>, count: number): Promise<string[]> {
  const ids: string[] = [];
  for await (const event of events) {
    if (event.kind === "task") ids.push(event.object.id);
    if (ids.length === count) break;
  }
  return ids;
}

function write(store: MemoryStore, id: string, remove: boolean): void {
  const update = store.update((tx) => {
    const old = tx.tasks.get(id);
    if (old === undefined) tx.tasks.create(Task.create({ id }));
    else if (remove) tx.tasks.delete(id);
    else tx.tasks.update({ ...old, slot: old.slot + 1 });
  });
  update.catch(() => {}); // Those that are abandoned.
}

async function replay(state: Map<string, number>, events: AsyncIterable<StoreEvent>, end: number): Promise<void> {
  let seen = 0;
  for await (const event of events) {
    if (event.kind === "commit") {
      expect(event.version).toBeGreaterThan(seen);
      seen = event.version;
      if (seen === end) return;
    } else if (event.kind === "task") {
      const { id, slot } = event.object;
      expect(state.has(id)).toBe(event.action !== "create");
      if (event.action === "remove") state.delete(id);
      else state.set(id, slot);
    }
  }
}
