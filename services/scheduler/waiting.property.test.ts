import { type Node, NodeSpec_Availability, type Task, TaskState } from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { node, type TaskOptions, task } from "./fixtures.ts";
import { createScheduler } from "./index.ts";

const { PENDING, FAILED, RUNNING, SHUTDOWN } = TaskState;
const { ACTIVE, DRAIN } = NodeSpec_Availability;

/** What services ask for, each for something else of a node. */
const services: readonly TaskOptions[] = [
  { service: "large", cpus: 3 },
  { service: "small", cpus: 1 },
  { service: "spread", cpus: 1, maxReplicas: 1, spread: ["node.labels.zone"] },
  { service: "port", hostPort: 80 },
];

const happening = fc.oneof(
  { weight: 4, arbitrary: fc.record({ t: fc.constant("create" as const), service: fc.nat(3), count: fc.nat(3) }) },
  { weight: 5, arbitrary: fc.record({ t: fc.constant("end" as const), which: fc.nat(12) }) },
  { weight: 4, arbitrary: fc.record({ t: fc.constant("stop" as const), which: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ t: fc.constant("remove" as const), which: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ t: fc.constant("node" as const), which: fc.nat(3), drained: fc.boolean() }) },
);
type Happening = typeof happening extends fc.Arbitrary<infer H> ? H : never;

async function happens(store: MemoryStore, each: Happening, number: number): Promise<void> {
  await store.update((tx) => {
    const tasks = tx.tasks.find();
    switch (each.t) {
      case "create":
        for (let i = 0; i <= each.count; i++) tx.tasks.create(task(`t${number}.${i}`, services[each.service]!));
        return;
      case "node": {
        const id = `n${each.which}`;
        const old = tx.nodes.get(id);
        const availability = each.drained ? DRAIN : ACTIVE;
        const made = node(id, { availability, labels: { zone: `z${each.which % 2}` } });
        if (old === undefined) tx.nodes.create(made);
        else tx.nodes.update({ ...made, meta: old.meta });
        return;
      }
    }
    const chosen = tasks[each.which % Math.max(1, tasks.length)];
    if (chosen === undefined) return;
    if (each.t === "remove") tx.tasks.delete(chosen.id);
    else if (each.t === "stop") tx.tasks.update({ ...chosen, desiredState: SHUTDOWN });
    else if (chosen.status.state > PENDING && chosen.status.state <= RUNNING)
      tx.tasks.update({ ...chosen, status: { ...chosen.status, state: FAILED } });
  });
}

/** Written from what the services ask for. */
function hasRoom({ id, spec, description }: Node, waiting: Task, tasks: readonly Task[]): boolean {
  const there = tasks.filter(
    (each) => each.nodeId === id && each.status.state > PENDING && each.status.state <= RUNNING,
  );
  const cpus = (each: Task) => each.spec.resources?.reservations?.nanoCpus ?? 0;
  const wanted = there.filter((each) => each.desiredState <= RUNNING && each.serviceId === waiting.serviceId).length;
  const taken = there.reduce((sum, each) => sum + cpus(each), 0);
  return (
    spec.availability === ACTIVE &&
    taken + cpus(waiting) <= description!.resources!.nanoCpus &&
    (waiting.serviceId !== "spread" || wanted === 0) &&
    (waiting.serviceId !== "port" || !there.some(({ serviceId }) => serviceId === "port"))
  );
}

describe("tasks that wait", () => {
  it("wait only while no node has room for them, whatever happened before", async () => {
    const property = fc.asyncProperty(fc.array(happening, { minLength: 4, maxLength: 40 }), async (happenings) => {
      const clock = new FakeClock();
      const store = new MemoryStore({ clock });
      const abort = new AbortController();
      const ended = createScheduler({ store, clock, log: nullLogger }).run(abort.signal);
      for (const [number, each] of happenings.entries()) {
        await happens(store, each, number);
        await clock.advance(1);
        const { nodes, tasks } = store.view((tx) => ({ nodes: tx.nodes.find(), tasks: tx.tasks.find() }));
        for (const waiting of tasks) {
          if (waiting.status.state !== PENDING || waiting.desiredState > RUNNING) continue;
          const free = nodes.filter((candidate) => hasRoom(candidate, waiting, tasks)).map(({ id }) => id);
          expect(free, `${waiting.id} of ${waiting.serviceId} waits`).toEqual([]);
        }
      }
      abort.abort();
      await ended;
    });
    await fc.assert(property, { numRuns: 200, seed: 17 });
  });
});
