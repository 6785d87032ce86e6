import {
  Annotations,
  Node,
  NodeDescription,
  NodeSpec,
  NodeSpec_Availability,
  NodeStatus,
  NodeStatus_State,
  Placement,
  ResourceRequirements,
  Resources,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createConstraintEnforcer } from "./loop.ts";

const { ASSIGNED, RUNNING, FAILED, REJECTED, SHUTDOWN } = TaskState;
const { ACTIVE, PAUSE, DRAIN } = NodeSpec_Availability;
const { READY, DOWN } = NodeStatus_State;
const disks = ["ssd", "hdd"] as const;

/** What a node is like; room is in units of memory. */
interface Shape {
  readonly disk: (typeof disks)[number];
  readonly room: number;
  readonly availability: NodeSpec_Availability;
  readonly state: NodeStatus_State;
}

/** A task on the node: the disk that its service asks for, if it does, and what it reserves. */
interface Placed {
  readonly disk: (typeof disks)[number] | undefined;
  readonly memory: number;
  readonly state: TaskState;
  readonly desired: TaskState;
}

const shape: fc.Arbitrary<Shape> = fc.record({
  disk: fc.constantFrom(...disks),
  room: fc.nat(12),
  availability: fc.constantFrom(ACTIVE, ACTIVE, ACTIVE, PAUSE, DRAIN),
  state: fc.constantFrom(READY, READY, READY, DOWN),
});
const placed: fc.Arbitrary<Placed> = fc.record({
  disk: fc.constantFrom(undefined, ...disks),
  memory: fc.nat(5),
  state: fc.constantFrom(ASSIGNED, RUNNING, RUNNING, FAILED),
  desired: fc.constantFrom(RUNNING, RUNNING, SHUTDOWN),
});

function nodeOf({ disk, room, availability, state }: Shape): Node {
  return Node.create({
    id: "n",
    spec: NodeSpec.create({ annotations: Annotations.create({ labels: { disk } }), availability }),
    status: NodeStatus.create({ state }),
    description: NodeDescription.create({ resources: Resources.create({ memoryBytes: room }) }),
  });
}

function serviceOf(disk: Placed["disk"]): Service {
  const name = disk ?? "any";
  const placement = Placement.create({ constraints: disk ? [`node.labels.disk==${disk}`] : [] });
  const spec = ServiceSpec.create({ annotations: Annotations.create({ name }), task: TaskSpec.create({ placement }) });
  return Service.create({ id: name, spec });
}

/** The enforcer's run over a node of these shapes, one after the other; the tasks that it rejects at each. */
async function play(shapes: readonly Shape[], tasks: readonly Placed[]): Promise<readonly ReadonlySet<number>[]> {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  await store.update((tx) => {
    for (const disk of [undefined, ...disks]) tx.services.create(serviceOf(disk));
    tx.nodes.create(nodeOf({ disk: "ssd", room: 0, availability: PAUSE, state: READY }));
  });
  for (const [i, { disk, memory, state, desired }] of tasks.entries()) {
    const reservations = Resources.create({ memoryBytes: memory });
    const task = Task.create({
      id: `t${i}`,
      serviceId: disk ?? "any",
      nodeId: "n",
      spec: TaskSpec.create({ resources: ResourceRequirements.create({ reservations }) }),
      status: TaskStatus.create({ state }),
      desiredState: desired,
    });
    await store.update((tx) => tx.tasks.create(task));
  }
  const stop = new AbortController();
  const running = createConstraintEnforcer({ store, clock, log: nullLogger }).run(stop.signal);
  const rejected: Set<number>[] = [];
  for (const each of shapes) {
    await store.update((tx) => tx.nodes.update({ ...nodeOf(each), meta: tx.nodes.get("n")!.meta }));
    await clock.advance(1);
    const states = tasks.map((_, i) => store.view((tx) => tx.tasks.get(`t${i}`))!.status.state);
    rejected.push(new Set(states.flatMap((state, i) => (state === REJECTED ? [i] : []))));
  }
  stop.abort();
  await running;
  return rejected;
}

describe("a node that changes again and again", () => {
  it("loses every task that no longer fits and no other", async () => {
    const scenario = fc.record({
      shapes: fc.array(shape, { minLength: 1, maxLength: 4 }),
      tasks: fc.array(placed, { maxLength: 8 }),
    });
    const property = fc.asyncProperty(scenario, async ({ shapes, tasks }) => {
      const rejected = await play(shapes, tasks);
      let before: ReadonlySet<number> = new Set();
      for (const [at, { disk, room, availability, state }] of shapes.entries()) {
        const now = rejected[at]!;
        const acts = availability === ACTIVE && state !== DOWN;
        // Oldest first, what the node takes keeps its room; so one that goes leaves it to those after it.
        let taken = 0;
        for (const [i, task] of tasks.entries()) {
          const isOut = before.has(i) || task.state === FAILED || task.desired === SHUTDOWN;
          const fits = (task.disk === undefined || task.disk === disk) && taken + task.memory <= room;
          if (!isOut && fits) taken += task.memory;
          const expected = before.has(i) || (!isOut && acts && !fits);
          expect(now.has(i), `task ${i} at shape ${at}`).toBe(expected);
        }
        before = now;
      }
    });
    await fc.assert(property, { numRuns: 200, seed: 11 });
  });
});
