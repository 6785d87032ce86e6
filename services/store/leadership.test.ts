import { StoreAction, StoreActionKind, Task, Version } from "@starling/api";
import { SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import { FakeProposer } from "./fake-proposer.ts";
import { MemoryStore } from "./index.ts";

// What becomes of a leader's transactions at each point at which it can be lost.

const lost = new SwarmError("Unavailable", "raft leadership is lost: outcome unknown");
const unknown = `Unavailable: ${lost.message}`;

/** A leader at index 10. `seen` is what a watcher was told of. */
function leader() {
  const proposer = new FakeProposer(10);
  const store = new MemoryStore({ proposer });
  const seen: string[] = [];
  store.watch({
    accept: (event) => {
      seen.push(event.kind === "commit" ? `commit ${event.version}` : `${event.action} ${event.object.id}`);
      return false;
    },
  });
  const create = (id: string) =>
    store
      .update((tx) => tx.tasks.create(Task.create({ id })).meta.version.index)
      .then(
        (version) => `at ${version}`,
        (error: SwarmError) => `${error.code}: ${error.message}`,
      );
  const ids = () => store.view((tx) => tx.tasks.find().map(({ id }) => id));
  return { proposer, store, seen, create, ids };
}

/** What another leader wrote. */
function creationOf(id: string, version: number): readonly StoreAction[] {
  const meta = { ...Task.create().meta, version: Version.create({ index: version }) };
  const action = StoreActionKind.STORE_ACTION_CREATE;
  return [StoreAction.create({ action, task: Task.create({ id, meta }) })];
}

describe("a leader that is lost", () => {
  it("before the proposal: it is refused, nothing has happened, and nothing was based on it", async () => {
    const { proposer, create, ids, seen } = leader();
    const propose = proposer.propose.bind(proposer);
    proposer.propose = () => {
      throw new SwarmError("Unavailable", "not the leader");
    };
    expect(await create("t1")).toBe("Unavailable: not the leader");
    proposer.propose = propose;
    const next = create("t2");
    proposer.commit();
    expect(await next).toBe("at 11");
    expect(ids()).toEqual(["t2"]);
    expect(seen).toEqual(["create t2", "commit 11"]);
  });

  it("after the proposal, which is lost, too: outcome unknown, and the next leader's entries take its place", async () => {
    const { store, create, ids, seen } = leader();
    const [first, second] = [create("t1"), create("t2")];
    store.abandonInFlight(lost);
    expect(await Promise.all([first, second])).toEqual([unknown, unknown]);
    expect(ids()).toEqual([]);
    store.applyActions(creationOf("other", 12), 12);
    expect(ids()).toEqual(["other"]);
    expect(seen).toEqual(["create other", "commit 12"]);
  });

  it("after the proposal, which the next leader commits: outcome unknown, yet it is there, once", async () => {
    for (const by of ["callback", "entry"] as const) {
      const { proposer, store, create, ids, seen } = leader();
      const [first, second] = [create("t1"), create("t2")];
      store.abandonInFlight(lost);
      expect(await Promise.all([first, second])).toEqual([unknown, unknown]);
      const [kept] = proposer.pending;
      if (by === "callback") kept!.apply(11);
      else store.applyActions(kept!.actions, 11);
      store.applyActions(creationOf("other", 13), 13);
      expect(ids()).toEqual(["other", "t1"]);
      expect(seen).toEqual(["create t1", "commit 11", "create other", "commit 13"]);
    }
  });

  it("between the commits of two: the one that was applied is acknowledged, also when it is lost in the same turn", async () => {
    const { proposer, store, create, ids } = leader();
    const [first, second] = [create("t1"), create("t2")];
    proposer.commit(1);
    store.abandonInFlight(lost);
    expect(await Promise.all([first, second])).toEqual(["at 11", unknown]);
    expect(ids()).toEqual(["t1"]);
  });

  it("without noticing, before the next leader's first entry is applied here: outcome unknown", async () => {
    const { store, create, ids, seen } = leader();
    const first = create("t1");
    store.applyActions(creationOf("other", 12), 12);
    expect(await first).toMatch(/^Unavailable: outcome unknown/);
    expect(ids()).toEqual(["other"]);
    expect(seen).toEqual(["create other", "commit 12"]);
  });

  it("and sent a snapshot: outcome unknown, watchers are told of the difference", async () => {
    const { store, create, ids, seen } = leader();
    const first = create("t1");
    const other = new MemoryStore();
    other.applyActions(creationOf("other", 12), 12);
    store.restore(other.snapshot());
    expect(await first).toMatch(/^Unavailable: outcome unknown/);
    expect(ids()).toEqual(["other"]);
    expect(seen).toEqual(["create other", "commit 12"]);
  });

  it("and elected again: versions go on above all that was committed meanwhile, what was lost included", async () => {
    const { proposer, store, create, ids } = leader();
    const [first, second, third] = [create("t1"), create("t2"), create("t3")];
    store.abandonInFlight(lost);
    const [kept] = proposer.pending.splice(0);
    store.applyActions(kept!.actions, 11);
    proposer.committedIndex = 12; // The first entry of the new term, which is empty.
    const next = create("t2");
    expect(store.view((tx) => tx.tasks.get("t1")?.meta.version.index)).toBe(11);
    proposer.commit();
    expect(await Promise.all([first, second, third, next])).toEqual([unknown, unknown, unknown, "at 13"]);
    expect(ids()).toEqual(["t1", "t2"]);
  });
});

describe("many transactions in flight", () => {
  it("each see those before them, and are undone together with them", async () => {
    const { proposer, store } = leader();
    const counted = Array.from({ length: 100 }, (_, n) =>
      store.update((tx) => {
        const slot = tx.tasks.size;
        tx.tasks.create(Task.create({ id: `t${n}`, slot }));
        return slot;
      }),
    );
    const fates = Promise.allSettled(counted);
    proposer.commit(60);
    proposer.refuse();
    const results = (await fates).map((fate) => (fate.status === "fulfilled" ? fate.value : "failed"));
    expect(results).toEqual([
      ...Array.from({ length: 60 }, (_, n) => n),
      ...Array.from({ length: 40 }, () => "failed"),
    ]);
    expect(store.view((tx) => tx.tasks.size)).toBe(60);
    expect(store.inFlightCount).toBe(0);
  });
});
