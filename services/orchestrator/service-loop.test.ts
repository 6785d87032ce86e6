import {
  Annotations,
  ContainerSpec,
  durationOfMs,
  enforcedMessage,
  JobStatus,
  moveLabelOf,
  Node,
  NodeDescription,
  NodeStatus,
  NodeStatus_State,
  ReplicatedJob,
  ReplicatedService,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateConfig,
  UpdateStatus_UpdateState,
  withMoveLabel,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { all, byService, MemoryStore } from "@starling/store";
import { FakeProposer } from "@starling/store/testing";
import { afterEach, describe, expect, it } from "vitest";
import { createOrchestrator } from "./index.ts";

const clock = new FakeClock();
const store = () => new MemoryStore({ clock });
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

function start(s: MemoryStore): void {
  const abort = new AbortController();
  const running = createOrchestrator({ store: s, clock, log: nullLogger }).map((loop) => loop.run(abort.signal));
  stops.push(async () => {
    abort.abort();
    await Promise.all(running);
  });
}

const tasksOf = (s: MemoryStore, service = "s") => s.view((tx) => tx.tasks.find(byService(service)));
const wanted = (s: MemoryStore) => tasksOf(s).filter((task) => task.desiredState <= TaskState.RUNNING);

/** Turns the clock until it is so. */
async function turns(until: () => boolean): Promise<void> {
  for (let turn = 0; turn < 500 && !until(); turn++) await clock.advance(20);
  expect(until()).toBe(true);
}

/** Commits what is proposed at once. */
class PromptProposer extends FakeProposer {
  override propose(...args: Parameters<FakeProposer["propose"]>): Promise<void> {
    const done = super.propose(...args);
    queueMicrotask(() => this.commit());
    return done;
  }
}

async function createService(s: MemoryStore, replicas: number, task = TaskSpec.create(), id = "s"): Promise<void> {
  await s.update((tx) =>
    tx.services.create(
      Service.create({
        id,
        spec: ServiceSpec.create({
          annotations: Annotations.create({ name: id }),
          replicated: ReplicatedService.create({ replicas }),
          task,
        }),
        specVersion: { index: 1 },
      }),
    ),
  );
}

/** Plays the part of allocator, scheduler and agents: every task reaches what is wanted of it. */
async function obey(s: MemoryStore): Promise<void> {
  await s.update((tx) => {
    for (const task of tx.tasks.find(all)) {
      const state =
        task.desiredState >= TaskState.SHUTDOWN
          ? TaskState.SHUTDOWN
          : task.desiredState === TaskState.READY
            ? TaskState.READY
            : TaskState.RUNNING;
      if (task.status.state < state) tx.tasks.update(inState(task, state));
    }
  });
}

function inState(task: Task, state: TaskState): Task {
  const at = timestampOfMs(clock.now());
  return { ...task, status: TaskStatus.create({ ...task.status, state, timestamp: at, appliedAt: at }) };
}

describe("the service loop on a real store", () => {
  it("looks at large services again only after pauses that are as long as all of their passes ask for", async () => {
    const s = store();
    const replicas = 200;
    for (const id of ["a", "b", "c"]) await createService(s, replicas, TaskSpec.create(), id);
    start(s);
    const sizes = () => ["a", "b", "c"].map((id) => tasksOf(s, id).length);
    await turns(() => sizes().every((size) => size === replicas));
    await clock.advance(100);
    const lose = async () => {
      await s.update((tx) => {
        for (const id of ["a", "b", "c"]) tx.tasks.delete(tx.tasks.find(byService(id))[0]!.id);
      });
      await clock.advance(0);
    };
    await lose();
    expect(sizes()).toEqual([replicas, replicas, replicas]); // Long ago the last passes were.
    await lose();
    expect(sizes()).toEqual([replicas - 1, replicas - 1, replicas - 1]);
    // A pass over 200 tasks asks for 2.4 ms.
    await clock.advance(2.5);
    expect(sizes()).toEqual([replicas, replicas - 1, replicas - 1]);
    await clock.advance(5);
    expect(sizes()).toEqual([replicas, replicas, replicas]);
  });

  it("replaces a task that is to move, says so on it, and wishes for the node", async () => {
    const s = store();
    start(s);
    await createService(s, 1);
    await clock.advance(10);
    await obey(s);
    const [old] = wanted(s);
    const description = NodeDescription.create({ hostname: "host-2" });
    await s.update((tx) => {
      for (const id of ["n1", "n2"]) {
        tx.nodes.create(Node.create({ id, description, status: NodeStatus.create({ state: NodeStatus_State.READY }) }));
      }
      tx.tasks.update(withMoveLabel({ ...tx.tasks.get(old!.id)!, nodeId: "n1" }, "moveTo", "n2"));
    });
    await turns(() => tasksOf(s).length === 2);
    const moved = tasksOf(s).find(({ id }) => id === old!.id)!;
    expect(moved).toMatchObject({
      desiredState: TaskState.SHUTDOWN,
      status: { message: "rebalanced: moved to use node host-2" },
    });
    expect(moveLabelOf(moved, "movedTo")).toBe("n2");
    const [successor] = wanted(s);
    expect(successor).toMatchObject({ slot: 1, nodeId: "", desiredState: TaskState.READY });
    expect(moveLabelOf(successor!, "wish")).toBe("n2");
    await obey(s);
    await turns(() => wanted(s)[0]?.desiredState === TaskState.RUNNING);
    await obey(s);
    expect(tasksOf(s)).toHaveLength(2);
  });

  it("leaves a task that it did not move unmarked", async () => {
    const s = store();
    start(s);
    await createService(s, 1);
    await clock.advance(10);
    await obey(s);
    const [old] = wanted(s);
    await s.update((tx) => tx.tasks.update(withMoveLabel(tx.tasks.get(old!.id)!, "moveTo", "unknown")));
    await turns(() => moveLabelOf(tasksOf(s)[0]!, "moveTo") === undefined);
    expect(tasksOf(s)).toHaveLength(1);
    expect(wanted(s)).toHaveLength(1);
  });

  it("creates, scales and removes the tasks of a service", async () => {
    const s = store();
    start(s);
    await createService(s, 3);
    await clock.advance(10);
    expect(wanted(s).map((task) => task.slot)).toEqual([1, 2, 3]);
    await obey(s);
    await s.update((tx) => {
      const service = tx.services.get("s")!;
      const spec = { ...service.spec, replicated: ReplicatedService.create({ replicas: 1 }) };
      tx.services.update({ ...service, spec });
    });
    await clock.advance(10);
    expect(wanted(s).map((task) => task.slot)).toEqual([1]);
    await s.update((tx) => tx.services.delete("s"));
    await clock.advance(10);
    await obey(s);
    await clock.advance(1_000);
    expect(tasksOf(s)).toEqual([]);
  });

  it("scales and removes a service of thousands, though a transaction has a limit", async () => {
    const s = new MemoryStore({ clock, proposer: new PromptProposer() });
    start(s);
    await createService(s, 4_000, TaskSpec.create({ container: ContainerSpec.create({ env: ["x".repeat(500)] }) }));
    await turns(() => wanted(s).length === 4_000);
    await s.update((tx) => {
      const service = tx.services.get("s")!;
      tx.services.update({
        ...service,
        spec: { ...service.spec, replicated: ReplicatedService.create({ replicas: 1 }) },
      });
    });
    await turns(() => wanted(s).length === 1);
    await s.update((tx) => tx.services.delete("s"));
    await turns(() => tasksOf(s).length === 0);
  });

  it("keeps the history of a job's first slot within the limit, wherever its tasks were", async () => {
    const s = store();
    const spec = ServiceSpec.create({ replicatedJob: ReplicatedJob.create({ totalCompletions: 1 }) });
    await s.update((tx) => {
      tx.services.create(Service.create({ id: "s", spec, specVersion: { index: 1 }, jobStatus: JobStatus.create() }));
      for (let i = 0; i < 9; i++) {
        const status = TaskStatus.create({ state: TaskState.FAILED, appliedAt: timestampOfMs(i) });
        const task = {
          id: `t${i}`,
          serviceId: "s",
          slot: 0,
          nodeId: `n${i}`,
          desiredState: TaskState.SHUTDOWN,
          status,
        };
        tx.tasks.create(Task.create(task));
      }
    });
    start(s);
    await clock.advance(1_000);
    expect(tasksOf(s).filter(({ status }) => status.state === TaskState.FAILED)).toHaveLength(5);
  });

  it("rolls an update through all slots, one by one, and completes it", async () => {
    const s = store();
    start(s);
    await createService(s, 3);
    await clock.advance(10);
    await obey(s);
    const before = new Set(wanted(s).map((task) => task.id));
    await s.update((tx) => {
      const service = tx.services.get("s")!;
      const spec = { ...service.spec, task: TaskSpec.create({ forceUpdate: 1 }) };
      tx.services.update({ ...service, spec, specVersion: { index: 2 } });
    });
    for (let step = 0; step < 10; step++) {
      await clock.advance(10);
      const away = wanted(s).filter((task) => task.status.state !== TaskState.RUNNING);
      expect(away.length).toBeLessThanOrEqual(1);
      await obey(s);
    }
    expect(wanted(s).some((task) => before.has(task.id))).toBe(false);
    await clock.advance(5_000);
    const status = s.view((tx) => tx.services.get("s"))?.updateStatus;
    expect(status?.state).toBe(UpdateStatus_UpdateState.COMPLETED);
  });

  it("starts the successor of a task that the constraint enforcer rejected as soon as its node says that it stopped", async () => {
    const s = store();
    start(s);
    await createService(s, 1);
    await clock.advance(10);
    await obey(s);
    const [first] = wanted(s);
    const rejected = { state: TaskState.REJECTED, message: enforcedMessage, timestamp: timestampOfMs(clock.now()) };
    await s.update((tx) => {
      tx.nodes.create(Node.create({ id: "n1", status: { state: NodeStatus_State.READY, addr: "", message: "" } }));
      tx.tasks.update({ ...tx.tasks.get(first!.id)!, nodeId: "n1", status: TaskStatus.create(rejected) });
    });
    // Longer than any delay, shorter than it waits for a node that says nothing.
    await clock.advance(30_000);
    await obey(s);
    expect(wanted(s).map((task) => task.desiredState)).toEqual([TaskState.READY]);
    await s.update((tx) => {
      const task = tx.tasks.get(first!.id)!;
      tx.tasks.update({ ...task, status: { ...task.status, appliedAt: timestampOfMs(clock.now()) } });
    });
    await clock.advance(10);
    expect(wanted(s).map((task) => task.desiredState)).toEqual([TaskState.RUNNING]);
  });

  it("counts an update's delay from when a task came to run, whatever that says while it runs", async () => {
    const s = store();
    start(s);
    await createService(s, 2);
    await clock.advance(10);
    await obey(s);
    await s.update((tx) => {
      const service = tx.services.get("s")!;
      const update = UpdateConfig.create({ parallelism: 1, delay: durationOfMs(1_000) });
      const spec = { ...service.spec, update, task: TaskSpec.create({ forceUpdate: 1 }) };
      tx.services.update({ ...service, spec, specVersion: { index: 2 } });
    });
    const renewed = () => wanted(s).filter((task) => task.specVersion?.index === 2);
    for (let step = 0; renewed()[0]?.status.state !== TaskState.RUNNING; step++) {
      expect(step).toBeLessThan(10);
      await clock.advance(10);
      await obey(s);
    }
    const [first] = renewed();
    for (const message of ["healthy", "healthy still"]) {
      await clock.advance(450);
      await s.update((tx) => {
        const running = inState(tx.tasks.get(first!.id)!, TaskState.RUNNING);
        tx.tasks.update({ ...running, status: { ...running.status, message } });
      });
    }
    expect(renewed().length).toBe(1);
    await clock.advance(120);
    expect(renewed().length).toBe(2);
  });

  it("goes on with an update that another leader began", async () => {
    const s = store();
    await createService(s, 2);
    start(s);
    await clock.advance(10);
    await obey(s);
    await s.update((tx) => {
      const service = tx.services.get("s")!;
      const spec = { ...service.spec, task: TaskSpec.create({ forceUpdate: 1 }) };
      tx.services.update({ ...service, spec, specVersion: { index: 2 } });
    });
    await clock.advance(10);
    for (const stop of stops.splice(0)) await stop();
    start(s);
    for (let step = 0; step < 8; step++) {
      await clock.advance(10);
      await obey(s);
    }
    expect(wanted(s).map((task) => task.specVersion?.index)).toEqual([2, 2]);
  });

  it("keeps no more history than the cluster's limit", async () => {
    const s = store();
    start(s);
    await createService(s, 1);
    for (let life = 0; life < 9; life++) {
      await clock.advance(6_000);
      await s.update((tx) => {
        for (const task of tx.tasks.find(all)) {
          if (task.desiredState === TaskState.RUNNING && task.status.state < TaskState.RUNNING) {
            tx.tasks.update(inState(task, TaskState.FAILED));
          } else if (task.desiredState === TaskState.READY) tx.tasks.update(inState(task, TaskState.READY));
        }
      });
    }
    await clock.advance(6_000);
    expect(tasksOf(s).length).toBeLessThanOrEqual(6);
    expect(wanted(s).length).toBe(1);
  });
});
