import { enforcedMessage, type Node, NodeSpec_Availability, Service, type Task, TaskState } from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { FakeProposer } from "@starling/store/testing";
import { afterEach, describe, expect, it } from "vitest";
import { node, type TaskOptions, task } from "./fixtures.ts";
import { createScheduler } from "./index.ts";

const running: { readonly abort: AbortController; readonly ended: Promise<void> }[] = [];

afterEach(async () => {
  for (const { abort, ended } of running.splice(0)) {
    abort.abort();
    await ended;
  }
});

/** A store with nodes and tasks, and a scheduler on it once `start` is called. */
async function cluster(nodes: readonly Node[], tasks: readonly Task[]) {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  await store.update((tx) => {
    tx.services.create(Service.create({ id: "web" }));
    for (const each of nodes) tx.nodes.create(each);
    for (const each of tasks) tx.tasks.create(each);
  });
  return {
    store,
    clock,
    start() {
      const abort = new AbortController();
      running.push({ abort, ended: createScheduler({ store, clock, log: nullLogger }).run(abort.signal) });
    },
    /** The task once it satisfies `until`. */
    async task(id: string, until: (task: Task) => boolean): Promise<Task> {
      const stop = new AbortController();
      const { value, events } = store.viewAndWatch((tx) => tx.tasks.get(id)!, { kinds: ["task"], signal: stop.signal });
      if (until(value)) return value;
      for await (const { object } of events) if (object.id === id && until(object)) return object;
      throw new Error("watch ended");
    },
    change(id: string, over: (task: Task) => Partial<Task>) {
      return store.update((tx) => {
        const old = tx.tasks.get(id)!;
        tx.tasks.update({ ...old, ...over(old) });
      });
    },
  };
}

const assigned = (each: Task) => each.status.state === TaskState.ASSIGNED;
const explained = (each: Task) => each.status.err !== "";
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
const inState = (id: string, state: TaskState, options: TaskOptions) => task(id, { ...options, state });

describe("scheduler", () => {
  it("ends within a pass, however many tasks wait", async () => {
    const waiting = Array.from({ length: 5_000 }, (_, i) => task(`t${i}`));
    const { store, start } = await cluster([node("n1")], waiting);
    const changes = store.watch({ kinds: ["task"] })[Symbol.asyncIterator]();
    start();
    await changes.next();
    const [{ abort, ended }] = running.splice(0) as [(typeof running)[number]];
    abort.abort();
    await ended;
    const placed = store.view((tx) => tx.tasks.find().filter(assigned)).length;
    expect(placed).toBeGreaterThan(0);
    expect(placed).toBeLessThan(5_000);
  });

  it("assigns what waits when it starts, and what comes later", async () => {
    const { store, start, task: taskWhen } = await cluster([node("n1")], [task("t1")]);
    start();
    const first = await taskWhen("t1", assigned);
    expect(first).toMatchObject({ nodeId: "n1", status: { message: "scheduler assigned task to node", err: "" } });
    await store.update((tx) => tx.tasks.create(task("t2")));
    expect((await taskWhen("t2", assigned)).nodeId).toBe("n1");
  });

  it("gives nobody the room of a task that a manager rejected, until its node says that it has stopped", async () => {
    const held = inState("t0", TaskState.REJECTED, { nodeId: "n1", cpus: 4 });
    const holder = { ...held, status: { ...held.status, message: enforcedMessage } };
    const {
      start,
      task: taskWhen,
      change,
    } = await cluster([node("n1", { cpus: 4 })], [holder, task("t1", { cpus: 4 })]);
    start();
    expect((await taskWhen("t1", explained)).status.err).toContain("insufficient resources on 1 node");
    await change("t0", ({ status }) => ({ status: { ...status, appliedAt: { seconds: 1, nanos: 0 } } }));
    expect((await taskWhen("t1", assigned)).nodeId).toBe("n1");
  });

  it("says other reasons at once, other numbers of nodes every 10 s at most", async () => {
    const { store, clock, start } = await cluster([node("n1")], [task("t1", { cpus: 5 })]);
    const errAfter = async (each: Node) => {
      await store.update((tx) => tx.nodes.create(each));
      await clock.advance(1);
      return store.view((tx) => tx.tasks.get("t1")!.status.err);
    };
    start();
    await clock.advance(1);
    expect(await errAfter(node("n2"))).toBe("no suitable node (insufficient resources on 1 node)");
    await clock.advance(10_000);
    expect(await errAfter(node("n3"))).toBe("no suitable node (insufficient resources on 3 nodes)");
    expect(await errAfter(node("n4", { availability: NodeSpec_Availability.DRAIN }))).toBe(
      "no suitable node (insufficient resources on 3 nodes; 1 node not available for new tasks)",
    );
  });

  it("says why a task finds no node, and places it when a node comes or room is freed", async () => {
    const holder = inState("t0", TaskState.RUNNING, { nodeId: "n1", cpus: 4 });
    const {
      store,
      start,
      task: taskWhen,
      change,
    } = await cluster(
      [node("n1")],
      [
        holder,
        task("t1", { cpus: 2 }),
        task("t2", { service: "web", specVersion: 2, constraints: ["node.hostname==n2"] }),
      ],
    );
    start();
    expect((await taskWhen("t1", explained)).status).toMatchObject({
      state: TaskState.PENDING,
      message: "pending task scheduling",
      err: "no suitable node (insufficient resources on 1 node)",
    });
    expect((await taskWhen("t2", explained)).status.err).toBe(
      "no suitable node (scheduling constraints not satisfied on 1 node)",
    );
    await change("t0", ({ status }) => ({ status: { ...status, state: TaskState.FAILED } }));
    expect((await taskWhen("t1", assigned)).status.err).toBe("");
    await store.update((tx) => tx.nodes.create(node("n2")));
    expect((await taskWhen("t2", assigned)).nodeId).toBe("n2");
  });

  it("says that there is no node at all", async () => {
    const { start, task: taskWhen } = await cluster([], [task("t1")]);
    start();
    expect((await taskWhen("t1", explained)).status.err).toBe("no suitable node");
  });

  it("confirms preassigned tasks before it fills their nodes with others", async () => {
    const { start, task: taskWhen } = await cluster(
      [node("n1", { cpus: 1 })],
      [task("free", { cpus: 1 }), task("global", { service: "agent", nodeId: "n1", cpus: 1 })],
    );
    start();
    expect((await taskWhen("global", assigned)).status.message).toBe(
      "scheduler confirmed task can run on preassigned node",
    );
    expect((await taskWhen("free", explained)).status.err).toBe("no suitable node (insufficient resources on 1 node)");
  });

  it("tells a preassigned task what its node lacks", async () => {
    const { start, task: taskWhen } = await cluster([node("n1", { cpus: 1 })], [task("t1", { nodeId: "n1", cpus: 2 })]);
    start();
    expect((await taskWhen("t1", explained)).status.err).toBe("insufficient resources on 1 node");
  });

  it("ends tasks that are no longer wanted before they had a node, and leaves removed ones alone", async () => {
    const {
      start,
      task: taskWhen,
      store,
    } = await cluster(
      [node("n1")],
      [task("ended", { desired: TaskState.SHUTDOWN }), task("removed", { desired: TaskState.REMOVE }), task("kept")],
    );
    start();
    await taskWhen("kept", assigned);
    expect((await taskWhen("ended", (each) => each.status.state === TaskState.SHUTDOWN)).nodeId).toBe("");
    expect(store.view((tx) => tx.tasks.get("removed")?.status.state)).toBe(TaskState.PENDING);
  });

  it("does not use a node that is about to change; it decides anew after the change", async () => {
    const proposer = new FakeProposer(1);
    const { start, task: taskWhen, store } = await cluster([node("n1"), node("n2")], [task("t1")]);
    store.attachProposer(proposer);
    const drained = store.update((tx) => {
      for (const id of ["n1", "n2"]) {
        const old = tx.nodes.get(id)!;
        tx.nodes.update({ ...old, spec: { ...old.spec, availability: id === "n1" ? 1 : 0 } });
      }
    });
    start();
    await turns(5); // The scheduler decides on the committed state, and finds its decision outdated.
    expect(proposer.pending).toHaveLength(1);
    proposer.commit();
    await drained;
    while (proposer.pending.length === 0) await turns(1);
    proposer.commit();
    expect((await taskWhen("t1", assigned)).nodeId).toBe("n2");
  });

  it("takes decisions back that were not committed, and tries again later", async () => {
    const proposer = new FakeProposer(1);
    const { start, task: taskWhen, store, clock } = await cluster([node("n1", { cpus: 1 })], [task("t1", { cpus: 1 })]);
    store.attachProposer(proposer);
    start();
    while (proposer.pending.length === 0) await turns(1);
    proposer.refuse();
    await turns(5);
    expect(proposer.pending).toHaveLength(0);
    await clock.advance(100);
    while (proposer.pending.length === 0) await turns(1);
    proposer.commit();
    expect((await taskWhen("t1", assigned)).nodeId).toBe("n1");
  });

  it("spreads 1,000 tasks evenly over 10 nodes in transactions of 200", async () => {
    const nodes = Array.from({ length: 10 }, (_, n) => node(`n${n}`));
    const { store, start, task: taskWhen } = await cluster(nodes, []);
    await store.batch(
      Array.from({ length: 1000 }, (_, n) => task(`t${n}`)),
      (tx, each) => void tx.tasks.create(each),
    );
    const commits: number[] = [];
    const counted = (async () => {
      let changes = 0;
      for await (const event of store.watch({ kinds: ["task", "commit"] })) {
        if (event.kind === "task") changes++;
        else {
          commits.push(changes);
          changes = 0;
        }
        if (commits.length === 5) return;
      }
    })();
    start();
    await counted;
    await taskWhen("t999", assigned);
    const perNode = new Map<string, number>();
    for (const each of store.view((tx) => tx.tasks.find()))
      perNode.set(each.nodeId, (perNode.get(each.nodeId) ?? 0) + 1);
    expect([...perNode.values()]).toEqual(Array.from({ length: 10 }, () => 100));
    expect(commits).toEqual([200, 200, 200, 200, 200]);
  });
});
