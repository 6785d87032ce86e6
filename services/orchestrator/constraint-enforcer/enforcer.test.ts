import {
  Annotations,
  discreteResource,
  type GenericResource,
  hasStopped,
  isOnNode,
  Node,
  NodeDescription,
  NodeSpec,
  NodeSpec_Availability,
  NodeStatus,
  NodeStatus_State,
  namedResource,
  Placement,
  ReplicatedService,
  ResourceRequirements,
  Resources,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createConstraintEnforcer } from "./loop.ts";

const { RUNNING, REJECTED, COMPLETE } = TaskState;
let store: MemoryStore;
let clock: FakeClock;
let stop: AbortController;
let running: Promise<void>;

beforeEach(async () => {
  clock = new FakeClock();
  store = new MemoryStore({ clock });
  stop = new AbortController();
  running = createConstraintEnforcer({ store, clock, log: nullLogger }).run(stop.signal);
  const placement = Placement.create({ constraints: ["node.labels.disk==ssd"] });
  await store.update((tx) => {
    const spec = ServiceSpec.create({ replicated: ReplicatedService.create(), task: TaskSpec.create({ placement }) });
    tx.services.create(Service.create({ id: "ssd", spec }));
    tx.services.create(Service.create({ id: "any", spec: ServiceSpec.create({ annotations: name("any") }) }));
    tx.nodes.create(node({}));
  });
});
afterEach(async () => {
  stop.abort();
  await running;
});

const name = (text: string) => Annotations.create({ name: text });

function node(over: {
  readonly disk?: string;
  readonly availability?: NodeSpec_Availability;
  readonly cpus?: number;
  readonly generic?: readonly GenericResource[];
}): Node {
  const { disk = "ssd", availability = NodeSpec_Availability.ACTIVE, cpus = 4, generic = [] } = over;
  return Node.create({
    id: "n",
    spec: NodeSpec.create({ annotations: Annotations.create({ labels: { disk } }), availability }),
    status: NodeStatus.create({ state: NodeStatus_State.READY }),
    description: NodeDescription.create({ resources: Resources.create({ nanoCpus: cpus * 1e9, generic }) }),
  });
}

async function tasks(...list: readonly Partial<Task>[]): Promise<void> {
  for (const [i, over] of list.entries()) {
    const status = TaskStatus.create({ state: RUNNING });
    const init = { id: `t${i}`, serviceId: "any", nodeId: "n", status, desiredState: RUNNING, ...over };
    await store.update((tx) => tx.tasks.create(Task.create(init)));
  }
}

/** The node becomes this; resolves with the states of the tasks. */
async function become(over: Parameters<typeof node>[0]): Promise<readonly TaskState[]> {
  await store.update((tx) => tx.nodes.update({ ...tx.nodes.get("n")!, ...node(over), meta: tx.nodes.get("n")!.meta }));
  await clock.advance(1);
  return store.view((tx) => tx.tasks.find().toSorted((a, b) => a.id.localeCompare(b.id))).map((t) => t.status.state);
}

const wanting = (nanoCpus: number, generic: readonly GenericResource[] = []) =>
  TaskSpec.create({
    resources: ResourceRequirements.create({ reservations: Resources.create({ nanoCpus, generic }) }),
  });

describe("a node that changed", () => {
  it("rejects the tasks whose service's constraints it no longer meets, in Swarm's words", async () => {
    await tasks({ serviceId: "ssd" }, {});
    expect(await become({ disk: "hdd" })).toEqual([REJECTED, RUNNING]);
    expect(store.view((tx) => tx.tasks.get("t0"))?.status).toMatchObject({
      message: "task rejected by constraint enforcer",
      err: "assigned node no longer meets constraints",
    });
  });

  it("keeps them on its books until it says that they have stopped", async () => {
    await tasks({ serviceId: "ssd", status: TaskStatus.create({ state: RUNNING, appliedAt: timestampOfMs(1) }) });
    await become({ disk: "hdd" });
    expect(store.view((tx) => tx.tasks.get("t0"))).toSatisfy((task: Task) => isOnNode(task) && !hasStopped(task));
  });

  it("rejects tasks of jobs, too, and leaves ended ones alone", async () => {
    const ended = TaskStatus.create({ state: TaskState.FAILED });
    await tasks({ serviceId: "ssd", desiredState: COMPLETE }, { serviceId: "ssd", status: ended });
    expect(await become({ disk: "hdd" })).toEqual([REJECTED, TaskState.FAILED]);
  });

  it.each([
    ["paused", NodeSpec_Availability.PAUSE],
    ["drained", NodeSpec_Availability.DRAIN],
  ])("and is %s rejects nothing", async (_what, availability) => {
    await tasks({ serviceId: "ssd" });
    expect(await become({ disk: "hdd", availability })).toEqual([RUNNING]);
  });

  it("rejects the newest tasks that no longer find room", async () => {
    await tasks({ spec: wanting(1e9) }, { spec: wanting(1e9) });
    expect(await become({ cpus: 1.5 })).toEqual([RUNNING, REJECTED]);
  });

  it("rejects tasks whose generic resources it no longer has", async () => {
    const gpu = (value: string) => namedResource("gpu", value);
    await tasks(
      { spec: wanting(0, [discreteResource("gpu", 1)]), assignedGenericResources: [gpu("a")] },
      { spec: wanting(0, [discreteResource("gpu", 1)]), assignedGenericResources: [gpu("b")] },
      { spec: wanting(0, [discreteResource("fan", 2)]), assignedGenericResources: [discreteResource("fan", 2)] },
      { spec: wanting(0, [discreteResource("fan", 2)]), assignedGenericResources: [discreteResource("fan", 2)] },
    );
    const generic = [gpu("b"), discreteResource("fan", 3)];
    expect(await become({ generic })).toEqual([REJECTED, RUNNING, RUNNING, REJECTED]);
  });
});
