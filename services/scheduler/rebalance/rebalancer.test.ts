import {
  Annotations,
  Cluster,
  ClusterSpec,
  durationOfMs,
  moveLabelOf,
  NodeStatus_State,
  ReplicatedService,
  Service,
  ServiceSpec,
  type Task,
  TaskState,
  timestampOfMs,
  UpdateConfig,
  UpdateStatus,
  UpdateStatus_UpdateState,
  withMoveLabel,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { all, byService, MemoryStore } from "@starling/store";
import { afterEach, describe, expect, it } from "vitest";
import { node, type TaskOptions, task } from "../fixtures.ts";
import { createScheduler } from "../index.ts";

const { RUNNING, SHUTDOWN, FAILED } = TaskState;
const minute = 60_000;

let world: World;
afterEach(() => world.stop());

interface Setting {
  readonly cluster?: Readonly<Record<string, string>>;
  readonly service?: Readonly<Record<string, string>>;
  /** How many replicas run on which node. */
  readonly on: Readonly<Record<string, number>>;
  readonly task?: TaskOptions;
  readonly update?: Partial<UpdateConfig>;
  readonly state?: UpdateStatus_UpdateState;
}

const onLabels = { "io.starling.rebalance": "on" };

/** A scheduler on a store; the test is orchestrator and agents. */
class World {
  readonly clock = new FakeClock();
  readonly store = new MemoryStore({ clock: this.clock });
  readonly #options: TaskOptions;
  #abort = new AbortController();
  #ended: Promise<void> = Promise.resolve();
  #made = 0;

  private constructor(options: TaskOptions) {
    this.#options = options;
  }

  static async of({
    cluster = onLabels,
    service = {},
    on,
    task: options = {},
    update,
    state,
  }: Setting): Promise<World> {
    const made = new World(options);
    const replicas = Object.values(on).reduce((sum, count) => sum + count, 0);
    const spec = ServiceSpec.create({
      annotations: Annotations.create({ name: "web", labels: service }),
      replicated: ReplicatedService.create({ replicas }),
      task: task("any", options).spec,
      update: update && UpdateConfig.create(update),
    });
    const updateStatus = state === undefined ? undefined : UpdateStatus.create({ state });
    await made.store.update((tx) => {
      const annotations = Annotations.create({ name: "default", labels: cluster });
      tx.clusters.create(Cluster.create({ id: "c", spec: ClusterSpec.create({ annotations }) }));
      tx.services.create(Service.create({ id: "web", spec, specVersion: { index: 1 }, updateStatus }));
      for (const id of Object.keys(on)) tx.nodes.create(node(id));
      let slot = 0;
      for (const [id, count] of Object.entries(on)) {
        for (let n = 0; n < count; n++) tx.tasks.create(made.#running(++slot, id));
      }
    });
    made.lead();
    return made;
  }

  lead(): void {
    const { store, clock } = this;
    this.#abort = new AbortController();
    this.#ended = createScheduler({ store, clock, log: nullLogger }).run(this.#abort.signal);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#ended;
  }

  #running(slot: number, nodeId: string): Task {
    const made = task(`t${this.#made++}`, { ...this.#options, slot, nodeId, state: RUNNING });
    return { ...made, status: { ...made.status, appliedAt: timestampOfMs(this.clock.now()) } };
  }

  join(id: string): Promise<unknown> {
    return this.store.update((tx) => tx.nodes.create(node(id)));
  }

  nodeBecomes(id: string, state: NodeStatus_State): Promise<unknown> {
    return this.store.update((tx) => {
      const old = tx.nodes.get(id)!;
      return tx.nodes.update({ ...old, status: { ...old.status, state } });
    });
  }

  get tasks(): readonly Task[] {
    return this.store.view((tx) => tx.tasks.find(byService("web")));
  }

  /** Tasks that are to move, as `t3>n2`. */
  get marked(): readonly string[] {
    return this.tasks.flatMap((each) => {
      const to = moveLabelOf(each, "moveTo");
      return to === undefined ? [] : [`${each.id}>${to}`];
    });
  }

  get counts(): Readonly<Record<string, number>> {
    const counts = Object.fromEntries(this.store.view((tx) => tx.nodes.find(all)).map(({ id }) => [id, 0]));
    for (const { nodeId, status } of this.tasks) if (status.state === RUNNING) counts[nodeId]! += 1;
    return counts;
  }

  /** Does what marks ask for, on the node they name. */
  obey(): Promise<void> {
    return this.store.update((tx) => {
      for (const old of tx.tasks.find(byService("web"))) {
        const to = moveLabelOf(old, "moveTo");
        if (to === undefined) continue;
        tx.tasks.update({
          ...withMoveLabel(old, "movedTo", to),
          desiredState: SHUTDOWN,
          status: { ...old.status, state: SHUTDOWN },
        });
        tx.tasks.create(withMoveLabel(this.#running(old.slot, to), "wish", to));
      }
    });
  }

  /** How many moves are made and carried out in this time. */
  async movesIn(ms: number): Promise<number> {
    let moves = 0;
    for (const end = this.clock.now() + ms; this.clock.now() < end; ) {
      await this.clock.advance(100);
      moves += this.marked.length;
      await this.obey();
    }
    return moves;
  }
}

describe("a service that is rebalanced", () => {
  it("has tasks moved to a new node, one by one, once that has settled, until it is even", async () => {
    world = await World.of({ on: { n1: 4, n2: 4 } });
    await world.clock.advance(2 * minute);
    await world.join("n3");
    expect(await world.movesIn(minute - 1_000)).toBe(0);
    expect(await world.movesIn(minute)).toBe(2);
    expect(world.counts).toEqual({ n1: 3, n2: 3, n3: 2 });
    expect(await world.movesIn(10 * minute)).toBe(0);
  });

  it("moves no more tasks a minute than the cluster says, of all services together", async () => {
    world = await World.of({ on: { n1: 20, n2: 20 } });
    const more = { "io.starling.rebalance.rate": "12" };
    await world.join("n3");
    await world.clock.advance(minute);
    expect(await world.movesIn(minute)).toBeOneOf([6, 7]);
    await world.store.update((tx) => {
      const cluster = tx.clusters.get("c")!;
      const annotations = { ...cluster.spec.annotations, labels: { ...cluster.spec.annotations.labels, ...more } };
      tx.clusters.update({ ...cluster, spec: { ...cluster.spec, annotations } });
    });
    expect(await world.movesIn(30_000)).toBeOneOf([5, 6]);
  });

  it("has one task on the way at most, and goes on under the next leader", async () => {
    world = await World.of({ on: { n1: 6, n2: 0 } });
    await world.clock.advance(2 * minute);
    expect(world.marked).toHaveLength(1);
    const once = world.tasks;
    await world.clock.advance(10 * minute);
    await world.stop();
    world.lead();
    await world.clock.advance(10 * minute);
    expect(world.tasks).toEqual(once);
    await world.obey();
    expect(await world.movesIn(10 * minute)).toBe(2);
    expect(world.counts).toEqual({ n1: 3, n2: 3 });
  });

  it("takes the task that has run for the shortest time", async () => {
    world = await World.of({ on: { n1: 3 } });
    await world.store.update((tx) => {
      const old = tx.tasks.get("t1")!;
      tx.tasks.update({ ...old, status: { ...old.status, appliedAt: timestampOfMs(world.clock.now() + 1) } });
    });
    await world.clock.advance(2 * minute);
    await world.join("n2");
    await world.clock.advance(2 * minute);
    expect(world.marked).toEqual(["t1>n2"]);
  });

  it.each<[string, Setting]>([
    ["nothing says so", { cluster: {}, on: { n1: 4, n2: 0 } }],
    ["it opts out", { service: { "io.starling.rebalance": "off" }, on: { n1: 4, n2: 0 } }],
    ["it is bin-packed", { service: { "io.starling.placement-strategy": "binpack" }, on: { n1: 4, n2: 0 } }],
    [
      "the cluster bin-packs",
      { cluster: { ...onLabels, "io.starling.placement-strategy": "binpack" }, on: { n1: 4, n2: 0 } },
    ],
    ["its nodes differ by one", { on: { n1: 2, n2: 1, n3: 2 } }],
    ["it is updated", { on: { n1: 4, n2: 0 }, state: UpdateStatus_UpdateState.UPDATING }],
    ["its update is paused", { on: { n1: 4, n2: 0 }, state: UpdateStatus_UpdateState.PAUSED }],
    ["constraints forbid the node", { on: { n1: 4, n2: 0 }, task: { constraints: ["node.id==n1"] } }],
    ["nodes are at their limit", { on: { n1: 4, n2: 0 }, task: { constraints: ["node.id!=n2"], maxReplicas: 4 } }],
    ["the other node lacks room", { on: { n1: 4, n2: 0 }, task: { cpus: 5 } }],
  ])("stays as it is when %s", async (_why, setting) => {
    world = await World.of(setting);
    expect(await world.movesIn(5 * minute)).toBe(0);
  });

  it("may opt in where the cluster does not", async () => {
    world = await World.of({ cluster: {}, service: onLabels, on: { n1: 4, n2: 0 } });
    expect(await world.movesIn(5 * minute)).toBe(2);
  });

  it("waits for a task that does not run, and for one that stops", async () => {
    world = await World.of({ on: { n1: 4, n2: 0 } });
    const change = (over: Partial<Task>) =>
      world.store.update((tx) => tx.tasks.update({ ...tx.tasks.get("t0")!, ...over }));
    const { status } = world.tasks[0]!;
    await change({ status: { ...status, state: TaskState.STARTING } });
    expect(await world.movesIn(5 * minute)).toBe(0);
    await change({ status, desiredState: SHUTDOWN });
    expect(await world.movesIn(5 * minute)).toBe(0);
    await change({ status, desiredState: RUNNING });
    expect(await world.movesIn(5 * minute)).toBe(2);
  });

  it("does not wait for what a lost node cannot stop", async () => {
    world = await World.of({ on: { n1: 4, n2: 0, lost: 0 } });
    await world.store.update((tx) => {
      tx.tasks.create({ ...task("old", { slot: 1, nodeId: "lost", state: RUNNING, desired: SHUTDOWN }) });
      tx.nodes.update({
        ...tx.nodes.get("lost")!,
        status: { ...tx.nodes.get("lost")!.status, state: NodeStatus_State.DOWN },
      });
    });
    expect(await world.movesIn(5 * minute)).toBe(2);
  });

  it("is not moved to a node that comes and goes", async () => {
    world = await World.of({ on: { n1: 4, n2: 0 } });
    for (let n = 0; n < 20; n++) {
      await world.nodeBecomes("n2", NodeStatus_State.DOWN);
      await world.clock.advance(5_000);
      await world.nodeBecomes("n2", NodeStatus_State.READY);
      expect(await world.movesIn(50_000)).toBe(0);
    }
    expect(await world.movesIn(2 * minute)).toBe(2);
  });

  it("is moved no faster than it is updated", async () => {
    world = await World.of({ on: { n1: 6, n2: 0 }, update: { parallelism: 1, delay: durationOfMs(2 * minute) } });
    await world.clock.advance(2 * minute);
    expect(await world.movesIn(2 * minute)).toBe(1);
    expect(await world.movesIn(4 * minute)).toBe(2);
  });

  it("stays with its volumes", async () => {
    world = await World.of({ on: { n1: 3, n2: 0 }, task: { volumes: ["data"] } });
    await world.nodeBecomes("n2", NodeStatus_State.DOWN);
    const become = (nodeId: string | undefined, state: TaskState) =>
      world.store.update((tx) => {
        for (const each of tx.tasks.find(byService("web"))) {
          tx.tasks.update({ ...each, nodeId: nodeId ?? each.nodeId, status: { ...each.status, state } });
        }
      });
    await become("", TaskState.PENDING);
    await world.clock.advance(10);
    await become(undefined, RUNNING);
    await world.nodeBecomes("n2", NodeStatus_State.READY);
    expect(world.counts).toEqual({ n1: 3, n2: 0 });
    expect(await world.movesIn(5 * minute)).toBe(0);
  });

  it("is not moved again at once to a node where that came to nothing, and then ever more seldom", async () => {
    world = await World.of({ on: { n1: 4, n2: 0 } });
    const tries: number[] = [];
    for (const begin = world.clock.now(); world.clock.now() < begin + 30 * minute; await world.clock.advance(1_000)) {
      if (world.marked.length === 0) continue;
      tries.push(Math.round((world.clock.now() - begin) / minute));
      await world.store.update((tx) => {
        const old = tx.tasks.find(byService("web")).find((each) => moveLabelOf(each, "moveTo") !== undefined)!;
        tx.tasks.update(withMoveLabel(old, undefined));
        const failing = { ...task(`x${tries.length}`, { slot: old.slot, nodeId: "n2", state: TaskState.PREPARING }) };
        tx.tasks.create(withMoveLabel(failing, "wish", "n2"));
      });
      await world.store.update((tx) => {
        const failing = tx.tasks.get(`x${tries.length}`)!;
        tx.tasks.update({ ...failing, desiredState: SHUTDOWN, status: { ...failing.status, state: FAILED } });
      });
    }
    expect(tries).toEqual([1, 6, 16]);
  });
});

describe("the task that takes a moved one's place", () => {
  it("gets the node that it wishes for, though another has fewer tasks", async () => {
    world = await World.of({ cluster: {}, on: { n1: 4, n2: 2, n3: 0 } });
    const pending = task("new", { slot: 1, state: TaskState.PENDING });
    await world.store.update((tx) => tx.tasks.create(withMoveLabel(pending, "wish", "n2")));
    await world.clock.advance(10);
    expect(world.tasks.find(({ id }) => id === "new")?.nodeId).toBe("n2");
  });

  it("is placed as any, when it does not fit there any more", async () => {
    world = await World.of({ cluster: {}, on: { n1: 4, n2: 2, n3: 0 } });
    await world.nodeBecomes("n2", NodeStatus_State.DOWN);
    const pending = task("new", { slot: 1, state: TaskState.PENDING });
    await world.store.update((tx) => tx.tasks.create(withMoveLabel(pending, "wish", "n2")));
    await world.clock.advance(10);
    expect(world.tasks.find(({ id }) => id === "new")?.nodeId).toBe("n3");
  });
});
