import { Node, NodeStatus, NodeStatus_State, Task, TaskState, TaskStatus } from "@starling/api";
import { Metrics } from "@starling/base";
import { MemoryStore } from "@starling/store";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StoreGauges } from "./metrics.ts";
import { StoreCounts } from "./store-counts.ts";

const change = fc.record({
  id: fc.nat(12).map(String),
  remove: fc.boolean(),
  serviceId: fc.constantFrom("s1", "s2"),
  state: fc.constantFrom(TaskState.PENDING, TaskState.RUNNING, TaskState.FAILED),
  desiredState: fc.constantFrom(TaskState.RUNNING, TaskState.SHUTDOWN),
  node: fc.boolean(),
  nodeState: fc.constantFrom(NodeStatus_State.READY, NodeStatus_State.DOWN),
});

function shown(counts: StoreCounts) {
  return {
    tasks: Object.values(TaskState).map((state) => counts.tasksIn(state)),
    nodes: Object.values(NodeStatus_State).map((state) => counts.nodesIn(state)),
    running: ["s1", "s2"].map((id) => counts.runningOf(id)),
    states: [[...counts.taskStates].sort(), [...counts.nodeStates].sort()],
  };
}

describe("StoreCounts", () => {
  it("are those of a walk after any changes, and after a snapshot took the state's place", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(change, { maxLength: 10 }), { maxLength: 10 }), async (transactions) => {
        const store = new MemoryStore();
        const empty = store.snapshot();
        const seen = store.watch();
        const counts = store.view(StoreCounts.of);
        for (const changes of transactions) {
          await store.update((tx) => {
            for (const { id, remove, state, desiredState, serviceId, node, nodeState } of changes) {
              const [table, meta] = [node ? tx.nodes : tx.tasks, (node ? tx.nodes : tx.tasks).get(id)?.meta];
              if (meta && remove) table.delete(id);
              else if (node) {
                const next = Node.create({
                  id,
                  status: NodeStatus.create({ state: nodeState }),
                  ...(meta && { meta }),
                });
                if (meta) tx.nodes.update(next);
                else tx.nodes.create(next);
              } else {
                const status = TaskStatus.create({ state });
                const next = Task.create({ id, serviceId, desiredState, status, ...(meta && { meta }) });
                if (meta) tx.tasks.update(next);
                else tx.tasks.create(next);
              }
            }
          });
        }
        const walked = store.view(StoreCounts.of);
        store.restore(empty);
        const afterRestore = store.version;
        let commits = 0;
        for await (const event of seen) {
          if (event.kind !== "commit") counts.count(event);
          else if (++commits === transactions.filter((each) => each.length > 0).length) {
            expect(shown(counts)).toEqual(shown(walked));
          }
          if (event.kind === "commit" && commits > transactions.filter((each) => each.length > 0).length) break;
        }
        expect(afterRestore).toBe(store.version);
        expect(shown(counts)).toEqual(shown(new StoreCounts()));
      }),
    );
  });
});

describe("StoreGauges", () => {
  it("show what the store holds when they are asked", async () => {
    const store = new MemoryStore();
    const metrics = new Metrics();
    const gauges = new StoreGauges(store);
    const abort = new AbortController();
    const counting = gauges.run(abort.signal);
    await store.update((tx) => {
      for (const id of ["t1", "t2"]) {
        tx.tasks.create(Task.create({ id, status: TaskStatus.create({ state: TaskState.RUNNING }) }));
      }
      tx.tasks.delete("t2");
    });
    await new Promise((resolve) => setImmediate(resolve));
    gauges.collect(metrics, true);
    const text = await metrics.render();
    expect(text).toContain('swarm_manager_tasks_total{state="running"} 1\n');
    expect(text).toContain('swarm_manager_tasks_total{state="failed"} 0\n');
    expect(text).toContain("swarm_manager_leader 1\n");
    abort.abort();
    await counting;
  });
});
