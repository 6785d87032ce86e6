import {
  Annotations,
  ContainerSpec,
  Service,
  ServiceSpec,
  StoreAction,
  StoreSnapshot,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
} from "@starling/api";
import { FakeClock, SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import { FakeProposer } from "./fake-proposer.ts";
import { byName, byService, byTaskState, MemoryStore, type StoreEvent } from "./index.ts";

const service = (id: string, name = id) =>
  Service.create({ id, spec: ServiceSpec.create({ annotations: Annotations.create({ name }) }) });
const task = (id: string, serviceId = "s1") =>
  Task.create({ id, serviceId, status: TaskStatus.create({ state: TaskState.NEW }) });
const outcome = (promise: Promise<unknown>) =>
  promise.then(
    () => "committed",
    (error: SwarmError) => error.code,
  );

function replicated(committedIndex = 10) {
  const proposer = new FakeProposer(committedIndex);
  const store = new MemoryStore({ proposer, clock: new FakeClock(1_500) });
  return { proposer, store };
}

describe("update", () => {
  it("without a proposer commits at once, stamps meta and gives the callback's result", async () => {
    const store = new MemoryStore({ clock: new FakeClock(1_500) });
    const created = await store.update((tx) => tx.services.create(service("s1", "web")));
    expect(created.meta).toEqual({
      version: { index: 1 },
      createdAt: { seconds: 1, nanos: 500_000_000 },
      updatedAt: { seconds: 1, nanos: 500_000_000 },
    });
    expect(store.view((tx) => tx.services.get("s1"))).toBe(created);
  });

  it("changes nothing when its callback throws", async () => {
    const store = new MemoryStore();
    const failed = store.update((tx) => {
      tx.services.create(service("s1"));
      throw new Error("stop");
    });
    await expect(failed).rejects.toThrow("stop");
    expect(store.view((tx) => tx.services.size)).toBe(0);
  });

  it("sees what is in flight, while views see only what is committed", async () => {
    const { proposer, store } = replicated();
    const first = store.update((tx) => tx.services.create(service("s1")));
    const second = store.update((tx) => tx.services.update({ ...tx.services.get("s1")!, pendingDelete: true }));
    expect(store.view((tx) => tx.services.get("s1"))).toBeUndefined();
    proposer.commit(1);
    expect(store.view((tx) => tx.services.get("s1")?.pendingDelete)).toBe(false);
    proposer.commit(1);
    expect(store.view((tx) => tx.services.get("s1")?.pendingDelete)).toBe(true);
    expect((await first).meta.version.index).toBe(11);
    expect((await second).meta.version.index).toBe(12);
  });

  it("assigns versions above everything committed and in flight, never above the entry's index", async () => {
    const { proposer, store } = replicated(10);
    const versions = [1, 2, 3].map((n) => store.update((tx) => tx.tasks.create(task(`t${n}`)).meta.version.index));
    proposer.committedIndex = 20; // An empty entry of the new term, say.
    proposer.commit();
    versions.push(store.update((tx) => tx.tasks.create(task("t4")).meta.version.index));
    proposer.commit();
    expect(await Promise.all(versions)).toEqual([11, 12, 13, 24]);
    expect(proposer.log.map(({ index }) => index)).toEqual([21, 22, 23, 24]);
  });

  it("acknowledges a no-op only when what it saw is committed", async () => {
    const { proposer, store } = replicated();
    const create = store.update((tx) => tx.services.create(service("s1")));
    const noop = store.update((tx) => tx.services.get("s1")?.id);
    proposer.refuse();
    expect(await outcome(create)).toBe("Unavailable");
    expect(await outcome(noop)).toBe("Unavailable");
    expect(proposer.log).toEqual([]);
  });

  it("refuses a transaction beyond Swarm's size, naming size and limit", async () => {
    const { store } = replicated();
    const big = {
      ...service("s1"),
      spec: ServiceSpec.create({ annotations: Annotations.create({ name: "x".repeat(1.6e6) }) }),
    };
    await expect(store.update((tx) => tx.services.create(big))).rejects.toThrow(
      /^transaction of 16\d+ bytes.* 1572864/,
    );
  });

  it("refuses stale versions, taken ids and names, and what isn't there", async () => {
    const store = new MemoryStore();
    const old = await store.update((tx) => tx.services.create(service("s1", "Web")));
    await store.update((tx) => tx.services.update({ ...old, pendingDelete: true }));
    const refusal = async (write: Parameters<typeof store.update>[0]) => {
      const error = await store.update(write).catch((thrown: SwarmError) => thrown);
      return error instanceof SwarmError ? `${error.code}: ${error.message}` : error;
    };
    expect(await refusal((tx) => tx.services.update(old))).toMatch(/^FailedPrecondition: update out of sequence/);
    expect(await refusal((tx) => tx.services.create(service("s1")))).toBe("AlreadyExists: service s1 already exists");
    expect(await refusal((tx) => tx.services.create(service("s2", "wEB")))).toMatch(/^AlreadyExists: name .* "Web"/);
    expect(await refusal((tx) => tx.services.update(service("s9")))).toBe("NotFound: service s9 not found");
    expect(await refusal((tx) => tx.services.delete("s9"))).toBe("NotFound: service s9 not found");
  });
});

describe("read", () => {
  it("waits until a leader has confirmed, and then sees what was committed meanwhile", async () => {
    const { proposer, store } = replicated();
    const size = store.read((tx) => tx.tasks.size);
    store.update((tx) => tx.tasks.create(task("t1"))).catch(() => {});
    proposer.commit();
    proposer.confirmReads();
    expect(await size).toBe(1);
  });

  it("is refused when nobody confirms, and never begins", async () => {
    const { proposer, store } = replicated();
    const read = store.read(() => expect.unreachable());
    proposer.refuse();
    expect(await outcome(read)).toBe("Unavailable");
  });

  it("needs nobody without a proposer", async () => {
    expect(await new MemoryStore().read((tx) => tx.tasks.size)).toBe(0);
  });
});

describe("leadership lost with transactions in flight", () => {
  for (const committed of [0, 1, 2, 3]) {
    it(`after ${committed} of 3 were committed: those stand, the rest is unknown and gone`, async () => {
      const { proposer, store } = replicated();
      const outcomes = ["t1", "t2", "t3"].map((id) => outcome(store.update((tx) => tx.tasks.create(task(id)))));
      proposer.commit(committed);
      store.abandonInFlight(new SwarmError("Unavailable", "outcome unknown"));
      expect(await Promise.all(outcomes)).toEqual([1, 2, 3].map((n) => (n <= committed ? "committed" : "Unavailable")));
      expect(store.view((tx) => tx.tasks.find().map(({ id }) => id))).toEqual(["t1", "t2", "t3"].slice(0, committed));
      expect(store.inFlightCount).toBe(0);
      const next = store.update((tx) => tx.tasks.create(task("t4")).meta.version.index);
      proposer.pending.splice(0, proposer.pending.length - 1);
      proposer.commit();
      expect(await next).toBe(10 + committed + 1);
    });
  }

  it("applies an abandoned transaction that commits after all", async () => {
    const { proposer, store } = replicated();
    const unknown = outcome(store.update((tx) => tx.tasks.create(task("t1"))));
    store.abandonInFlight(new SwarmError("Unavailable", "outcome unknown"));
    proposer.commit();
    expect(await unknown).toBe("Unavailable");
    expect(store.view((tx) => tx.tasks.get("t1")?.meta.version.index)).toBe(11);
  });

  it("fails what was based on a refused transaction", async () => {
    const { proposer, store } = replicated();
    const outcomes = ["t1", "t2", "t3"].map((id) => outcome(store.update((tx) => tx.tasks.create(task(id)))));
    const { done } = proposer.pending[1]!;
    done.reject(new SwarmError("ResourceExhausted", "too many"));
    expect(await Promise.all(outcomes.slice(1))).toEqual(["ResourceExhausted", "Unavailable"]);
    proposer.commit(1);
    expect(await outcomes[0]).toBe("committed");
    expect(store.view((tx) => tx.tasks.size)).toBe(1);
  });
});

describe("applyActions", () => {
  it("brings a follower to the leader's state, meta included", async () => {
    const { proposer, store } = replicated();
    const follower = new MemoryStore();
    store.update((tx) => tx.services.create(service("s1"))).catch(() => {});
    store.update((tx) => tx.tasks.create(task("t1"))).catch(() => {});
    store.update((tx) => tx.services.delete("s1")).catch(() => {});
    proposer.commit();
    for (const { actions, index } of proposer.log) follower.applyActions(actions, index);
    expect(follower.snapshot()).toEqual(store.snapshot());
    expect(follower.version).toBe(13);
  });

  it("shares a service's spec among its tasks, as the leader does", async () => {
    const { proposer, store } = replicated();
    const spec = TaskSpec.create({ container: ContainerSpec.create({ image: "web:1" }) });
    store.update((tx) => ["t1", "t2"].map((id) => tx.tasks.create({ ...task(id), spec }))).catch(() => {});
    store
      .update((tx) =>
        tx.tasks.update({ ...tx.tasks.get("t2")!, status: TaskStatus.create({ state: TaskState.READY }) }),
      )
      .catch(() => {});
    proposer.commit();
    const follower = new MemoryStore();
    for (const { actions, index } of proposer.log) {
      const received = actions.map((action) => StoreAction.decode(StoreAction.encode(action)));
      follower.applyActions(received, index);
    }
    const restored = new MemoryStore();
    restored.restore(StoreSnapshot.decode(StoreSnapshot.encode(store.snapshot())));
    for (const each of [follower, restored]) {
      const [first, second] = each.view((tx) => tx.tasks.find());
      expect(first?.spec).toBe(second?.spec);
      expect(each.snapshot()).toEqual(store.snapshot());
    }
  });

  it("stops at an entry that cannot be applied, naming it", async () => {
    const { proposer, store } = replicated();
    store.update((tx) => tx.tasks.create(task("t1"))).catch(() => {});
    proposer.commit();
    const follower = new MemoryStore();
    const [entry] = proposer.log;
    follower.applyActions(entry!.actions, 11);
    expect(() => follower.applyActions(entry!.actions, 12)).toThrow(
      "log entry 12 cannot be applied: create of task t1, which exists already",
    );
  });
});

describe("batch", () => {
  it("splits at 200 changes and keeps all transactions in flight", async () => {
    const { proposer, store } = replicated();
    const ids = Array.from({ length: 450 }, (_, n) => `t${n}`);
    const done = store.batch(ids, (tx, id) => void tx.tasks.create(task(id)));
    while (proposer.pending.length < 3) await new Promise((resolve) => setImmediate(resolve));
    expect(proposer.pending.map(({ actions }) => actions.length)).toEqual([200, 200, 50]);
    proposer.commit();
    await done;
    expect(store.view((tx) => tx.tasks.size)).toBe(450);
  });

  it("that is refused proposes no more", async () => {
    const { proposer, store } = replicated();
    let written = 0;
    const ids = Array.from({ length: 10_000 }, (_, n) => `t${n}`);
    const done = store.batch(ids, (tx, id) => {
      tx.tasks.create(task(id));
      written++;
    });
    expect(written).toBe(200);
    proposer.refuse();
    expect(await outcome(done)).toBe("Unavailable");
    expect(written).toBeLessThanOrEqual(400);
  });
});

describe("watch", () => {
  it("gives committed changes in log order, each transaction ended by its commit", async () => {
    const { proposer, store } = replicated();
    const { value, events } = store.viewAndWatch((tx) => tx.tasks.size);
    store.update((tx) => tx.tasks.create(task("t1"))).catch(() => {});
    store
      .update((tx) =>
        tx.tasks.update({ ...tx.tasks.get("t1")!, status: TaskStatus.create({ state: TaskState.READY }) }),
      )
      .catch(() => {});
    proposer.commit(1);
    store.update((tx) => tx.tasks.delete("t1")).catch(() => {});
    proposer.commit();
    const seen: string[] = [];
    for await (const event of events) {
      seen.push(describeEvent(event));
      if (seen.length === 6) break;
    }
    expect(value).toBe(0);
    expect(seen).toEqual(["create t1", "commit 11", "update t1 0->384", "commit 12", "remove t1", "commit 13"]);
  });

  it("filters by kind and by what the watcher accepts", async () => {
    const store = new MemoryStore();
    const events = store.watch({ kinds: ["task"], accept: ({ object }) => object.serviceId === "s2" });
    await store.update((tx) => {
      tx.services.create(service("s2"));
      tx.tasks.create(task("t1", "s1"));
      tx.tasks.create(task("t2", "s2"));
    });
    for await (const event of events) {
      expect(event.object.id).toBe("t2");
      break;
    }
  });

  it("turns a restored snapshot into the changes that lead to it", async () => {
    const source = new MemoryStore();
    await source.update((tx) => tx.services.create(service("s1")));
    const store = new MemoryStore();
    await store.update((tx) => tx.services.create(service("gone")));
    const { events } = store.viewAndWatch(() => {});
    store.restore(source.snapshot());
    const seen: string[] = [];
    for await (const event of events) {
      seen.push(describeEvent(event));
      if (event.kind === "commit") break;
    }
    expect(seen).toEqual(["remove gone", "create s1", "commit 1"]);
    expect(store.view((tx) => tx.services.find(byName("s1")).length)).toBe(1);
    expect(store.view((tx) => tx.tasks.find(byService("s1"), byTaskState(TaskState.NEW)))).toEqual([]);
  });
});

describe("a snapshot in parts", () => {
  it("is that of its moment, however late it is read", async () => {
    const store = new MemoryStore();
    await store.update((tx) => {
      for (let n = 0; n < 450; n++) tx.tasks.create(task(`t${String(n).padStart(3, "0")}`));
      tx.services.create(service("s1"));
    });
    const before = store.snapshot();
    const parts = store.snapshotParts();
    await store.update((tx) => tx.tasks.delete("t007"));
    const sizes: number[] = [];
    const restored = new MemoryStore();
    const restore = restored.beginRestore();
    for (const part of parts) {
      sizes.push(part.tasks.length + part.services.length);
      restore.add(part);
    }
    await restore.finish(async () => {});
    expect(sizes.sort((a, b) => b - a)).toEqual([200, 200, 50, 1]);
    expect(restored.snapshot()).toEqual(before);
  });

  it("replaces the state at its end, at once, with pauses before it", async () => {
    const source = new MemoryStore();
    await source.update((tx) => {
      tx.tasks.create(task("kept"));
      tx.tasks.create(task("new"));
    });
    const store = new MemoryStore();
    await store.update((tx) => {
      for (let n = 0; n < 1_000; n++) tx.tasks.create(task(`gone${n}`));
      tx.tasks.create(task("kept"));
    });
    const { events } = store.viewAndWatch(() => {}, { kinds: ["task", "commit"] });
    const dropped = store.beginRestore();
    for (const part of source.snapshotParts()) dropped.add(part);
    const restore = store.beginRestore();
    for (const part of source.snapshotParts()) restore.add(part);
    const sizes: number[] = [];
    await restore.finish(async () => void sizes.push(store.view((tx) => tx.tasks.size)));
    expect(sizes).toEqual(Array.from({ length: 5 }, () => 1_001));
    expect(store.view((tx) => tx.tasks.find().map(({ id }) => id))).toEqual(["kept", "new"]);
    const seen: string[] = [];
    for await (const event of events) {
      seen.push(event.kind === "commit" ? "commit" : event.action);
      if (event.kind === "commit") break;
    }
    expect(seen.filter((action) => action === "remove").length).toBe(1_000);
    expect(seen.slice(-2)).toEqual(["create", "commit"]);
  });

  it("refuses an object that stands there twice", () => {
    const restore = new MemoryStore().beginRestore();
    restore.add(StoreSnapshot.create({ tasks: [Task.create({ id: "t1" })] }));
    expect(() => restore.add(StoreSnapshot.create({ tasks: [Task.create({ id: "t1" })] }))).toThrow(
      "snapshot holds task t1 twice",
    );
  });
});

function describeEvent(event: StoreEvent): string {
  if (event.kind === "commit") return `commit ${event.version}`;
  const moved = event.kind === "task" && event.old ? ` ${event.old.status.state}->${event.object.status.state}` : "";
  return `${event.action} ${event.object.id}${moved}`;
}
