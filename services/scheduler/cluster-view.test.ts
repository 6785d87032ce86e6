import { type Node, type Task, TaskState } from "@starling/api";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyEvent, ClusterView } from "./cluster-view.ts";
import { node, task } from "./fixtures.ts";
import { Pipeline } from "./pipeline.ts";

const at = <T extends Task | Node>(object: T, index: number): T => ({
  ...object,
  meta: { ...object.meta, version: { index } },
});

/** What the books say, node by node; tasks that wait, by queue. */
function books(view: ClusterView) {
  const nodes = [...view.nodes.values()].map((info) => [
    info.id,
    {
      cpus: info.nanoCpusLeft / 1e9,
      tasks: info.taskCount,
      active: info.activeTasks,
      ofWeb: info.activeTasksOf("web"),
      portFree: new Pipeline(task("probe", { hostPort: 80 })).stillFits(info),
    },
  ]);
  const queue = (tasks: { values(): Iterable<Task> }) => [...tasks.values()].map(({ id }) => id).sort();
  return {
    nodes: Object.fromEntries(nodes),
    waiting: queue(view.waiting),
    preassigned: queue(view.preassigned),
    unwanted: queue(view.unwanted),
    order: [...view.nodes.leastActiveFirst()].map(({ activeTasks }) => activeTasks),
  };
}

const states = [TaskState.NEW, TaskState.PENDING, TaskState.ASSIGNED, TaskState.RUNNING, TaskState.FAILED] as const;
const happening = fc.oneof(
  fc.record({
    t: fc.constant("task" as const),
    id: fc.nat(5),
    state: fc.constantFrom(...states),
    desired: fc.constantFrom(TaskState.RUNNING, TaskState.SHUTDOWN, TaskState.REMOVE),
    node: fc.nat(2),
    preassigned: fc.boolean(),
    removed: fc.boolean(),
  }),
  fc.record({ t: fc.constant("node" as const), id: fc.nat(2), cpus: fc.nat(8), removed: fc.boolean() }),
  fc.record({ t: fc.constant("decide" as const), node: fc.nat(2), undone: fc.boolean() }),
);

describe("ClusterView", () => {
  it("after any events and decisions holds what a fresh look at the store gives", () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60 }), (happenings) => {
        const view = new ClusterView();
        const store = { tasks: new Map<string, Task>(), nodes: new Map<string, Node>() };
        for (const [version, each] of happenings.entries()) step(view, store, each, version + 1);
        const fresh = new ClusterView();
        for (const each of store.nodes.values()) fresh.setNode(each);
        for (const each of store.tasks.values()) fresh.setTask(each, 0);
        expect(books(view)).toEqual(books(fresh));
        expect(books(view).order).toEqual(books(view).order.toSorted((a, b) => a - b));
      }),
    );
  });

  function step(
    view: ClusterView,
    store: { readonly tasks: Map<string, Task>; readonly nodes: Map<string, Node> },
    each: typeof happening extends fc.Arbitrary<infer T> ? T : never,
    version: number,
  ): void {
    switch (each.t) {
      case "task": {
        const id = `t${each.id}`;
        const old = store.tasks.get(id);
        if (each.removed) {
          if (old) applyEvent(view, { kind: "task", action: "remove", object: old }, 0);
          store.tasks.delete(id);
          return;
        }
        // States and desired states only grow, and a task keeps its node.
        const state = Math.max(each.state, old?.status.state ?? 0) as TaskState;
        const desired = Math.max(each.desired, old?.desiredState ?? 0) as TaskState;
        const placed = state >= TaskState.ASSIGNED || each.preassigned;
        const nodeId = old?.nodeId || (placed ? `n${each.node}` : "");
        const object = at(task(id, { state, desired, nodeId, cpus: 1, hostPort: 80 }), version);
        store.tasks.set(id, object);
        applyEvent(view, { kind: "task", action: old ? "update" : "create", object }, 0);
        return;
      }
      case "node": {
        const id = `n${each.id}`;
        const old = store.nodes.get(id);
        if (each.removed) {
          if (old) applyEvent(view, { kind: "node", action: "remove", object: old }, 0);
          store.nodes.delete(id);
          return;
        }
        const object = at(node(id, { cpus: each.cpus }), version);
        store.nodes.set(id, object);
        applyEvent(view, { kind: "node", action: old ? "update" : "create", object }, 0);
        return;
      }
      case "decide": {
        const [waiting] = view.waiting.values();
        if (waiting === undefined) return;
        const decided = { ...waiting, nodeId: `n${each.node}` };
        view.book(decided);
        if (each.undone) {
          view.release(waiting.id);
          return;
        }
        const written = at({ ...decided, status: { ...decided.status, state: TaskState.ASSIGNED } }, version);
        store.tasks.set(written.id, written);
        view.setTask(written, 0);
        expect(applyEvent(view, { kind: "task", action: "update", object: written }, 0)).toBe(false);
      }
    }
  }

  it("calls for a pass when room is freed or something waits, not when a task only says why it waits", () => {
    const view = new ClusterView();
    const waiting = at(task("t1"), 1);
    expect(view.setTask(waiting, 0)).toBe(true);
    const explained = { ...waiting, status: { ...waiting.status, err: "no suitable node" } };
    expect(view.setTask(at(explained, 2), 0)).toBe(false);
    const running = at(task("t2", { state: TaskState.RUNNING, nodeId: "n1" }), 3);
    expect(view.setTask(running, 0)).toBe(false);
    expect(view.setTask(at({ ...running, status: { ...running.status, state: TaskState.FAILED } }, 4), 0)).toBe(true);
  });

  it("counts failures of tasks that it placed, not of preassigned ones", () => {
    const view = new ClusterView();
    view.setNode(node("n1"));
    const fail = (id: string, wasPreassigned: boolean) => {
      const pending = at(task(id, { nodeId: wasPreassigned ? "n1" : "" }), 1);
      view.setTask(pending, 0);
      for (const [index, state] of [TaskState.ASSIGNED, TaskState.FAILED].entries()) {
        view.setTask(at({ ...pending, nodeId: "n1", status: { ...pending.status, state } }, index + 2), 0);
      }
    };
    for (let n = 0; n < 9; n++) fail(`preassigned${n}`, true);
    expect(view.nodes.get("n1")?.failuresOf(task("x"), 0)).toBe(0);
    for (let n = 0; n < 5; n++) fail(`chosen${n}`, false);
    expect(view.nodes.get("n1")?.failuresOf(task("x"), 0)).toBe(5);
  });
});
