import {
  Annotations,
  enforcedMessage,
  GlobalJob,
  GlobalService,
  JobStatus,
  NodeSpec_Availability,
  NodeStatus_State,
  Placement,
  ReplicatedJob,
  RestartPolicy,
  RestartPolicy_RestartCondition,
  Service,
  ServiceSpec,
  type Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateConfig,
} from "@starling/api";
import { describe, expect, it } from "vitest";
import { create, desire, failedStatus, jobOf, node, plan, service, type TaskInit, t0, task } from "./plan-fixture.ts";
import { planService } from "./plan-service.ts";

const { NEW, READY, RUNNING, COMPLETE, FAILED, SHUTDOWN, REMOVE } = TaskState;

describe("replicas", () => {
  it("fills the lowest missing slots", () => {
    const p = plan(service({ replicas: 4 }), [task("b", { slot: 2 })]);
    expect(p.create).toEqual([create(1, RUNNING), create(3, RUNNING), create(4, RUNNING)]);
  });

  it("gives up the copies on the fullest node, and those not running first", () => {
    const tasks = [
      task("a", { slot: 1, node: "n1" }),
      task("b", { slot: 2, node: "n1" }),
      task("c", { slot: 3, node: "n2" }),
      task("d", { slot: 4, node: "n2", state: NEW }),
    ];
    const p = plan(service({ replicas: 2 }), tasks);
    expect(p.desire).toEqual([desire("b", REMOVE), desire("d", REMOVE)]);
    expect(p.create).toEqual([]);
  });

  it("removes the remains of slots beyond the count when scaling down", () => {
    const tasks = [
      task("a", { slot: 1 }),
      task("old", { slot: 2, state: FAILED, desired: SHUTDOWN, createdMs: t0 - 10 }),
      task("b", { slot: 2 }),
    ];
    expect(plan(service({ replicas: 1 }), tasks).desire).toEqual([desire("old", REMOVE), desire("b", REMOVE)]);
  });
});

describe("restart", () => {
  it("replaces an ended task by one held at READY, which starts after the delay", () => {
    const s = service({ replicas: 1 });
    const dead = task("a", { state: FAILED });
    const first = plan(s, [dead]);
    expect(first.desire).toEqual([desire("a", SHUTDOWN)]);
    expect(first.create).toEqual([create(1, READY)]);
    const held = task("b", { state: READY, desired: READY, createdMs: t0 + 5 });
    const gone = { ...dead, desiredState: SHUTDOWN };
    const waiting = plan(s, [gone, held], { nowMs: t0 + 1_000 });
    expect(waiting.desire).toEqual([]);
    expect(waiting.wakeAtMs).toBe(t0 + 5 + 5_000);
    expect(plan(s, [gone, held], { nowMs: t0 + 5_005 }).desire).toEqual([desire("b", RUNNING)]);
  });

  it("tries a task that cannot be prepared once a delay", () => {
    const s = service({ replicas: 1 });
    const dead = task("a", { state: TaskState.REJECTED, desired: SHUTDOWN });
    const held = task("b", { state: TaskState.REJECTED, desired: READY, createdMs: t0 + 5 });
    const early = plan(s, [dead, held], { nowMs: t0 + 20 });
    expect(early).toMatchObject({ create: [], desire: [], wakeAtMs: t0 + 5_005 });
    const late = plan(s, [dead, held], { nowMs: t0 + 5_005 });
    expect(late.desire).toEqual([desire("b", SHUTDOWN)]);
    expect(late.create).toEqual([create(1, READY)]);
  });

  it("moves tasks off a node that is down or drained without a delay", () => {
    const s = service({ replicas: 1 });
    const nodes = [node("n1", { state: NodeStatus_State.DOWN }), node("n2")];
    const lost = task("a", {});
    expect(plan(s, [lost], { nodes }).create).toEqual([create(1, READY)]);
    const held = task("b", { node: "n2", state: READY, desired: READY, createdMs: t0 + 1 });
    expect(plan(s, [{ ...lost, desiredState: SHUTDOWN }, held], { nodes, nowMs: t0 + 1 }).desire).toEqual([
      desire("b", RUNNING),
    ]);
  });

  it("waits for a drained node's task to stop before its successor starts", () => {
    const s = service({ replicas: 1 });
    const nodes = [node("n1", { availability: NodeSpec_Availability.DRAIN }), node("n2")];
    const old = task("a", { desired: SHUTDOWN });
    const held = task("b", { node: "n2", state: READY, desired: READY, createdMs: t0 + 1 });
    expect(plan(s, [old, held], { nodes, nowMs: t0 + 100 }).desire).toEqual([]);
    const stopped = { ...old, status: TaskStatus.create({ ...old.status, state: SHUTDOWN }) };
    expect(plan(s, [stopped, held], { nodes, nowMs: t0 + 100 }).desire).toEqual([desire("b", RUNNING)]);
  });

  it("lets a slot rest when its policy says so, and does not fill it again", () => {
    const restart = RestartPolicy.create({ condition: RestartPolicy_RestartCondition.ON_FAILURE });
    const s = service({ replicas: 1, task: TaskSpec.create({ restart }) });
    const done = task("a", { state: COMPLETE });
    const first = plan(s, [done]);
    expect(first.desire).toEqual([desire("a", SHUTDOWN)]);
    expect(first.create).toEqual([]);
    expect(plan(s, [{ ...done, desiredState: SHUTDOWN }]).create).toEqual([]);
  });

  it("counts attempts per slot and spec version", () => {
    const restart = RestartPolicy.create({ condition: RestartPolicy_RestartCondition.ANY, maxAttempts: 1 });
    const s = service({ replicas: 1, task: TaskSpec.create({ restart }) });
    const first = task("a", { state: FAILED, desired: SHUTDOWN, createdMs: t0 - 100 });
    expect(plan(s, [task("a", { state: FAILED })]).create).toEqual([create(1, READY)]);
    expect(plan(s, [first, task("b", { state: FAILED })]).create).toEqual([]);
  });
});

describe("a global service", () => {
  const global = (over: Partial<ServiceSpec> = {}) => {
    const spec = ServiceSpec.create({ global: GlobalService.create(), ...over });
    return Service.create({ id: "s", spec, specVersion: { index: 1 } });
  };
  const on = (id: string, node: string, init: TaskInit = {}) => task(id, { slot: 0, node, ...init });
  const { PAUSE, DRAIN } = NodeSpec_Availability;
  const { DOWN, DISCONNECTED } = NodeStatus_State;

  it("has one task on each node that is ready, active and matches", () => {
    const labelled = node("n3");
    const annotations = Annotations.create({ labels: { disk: "ssd" } });
    const nodes = [node("n1"), { ...labelled, spec: { ...labelled.spec, annotations } }];
    expect(plan(global(), [], { nodes }).create).toEqual([create("n1", RUNNING), create("n3", RUNNING)]);
    const placed = global({
      task: TaskSpec.create({ placement: Placement.create({ constraints: ["node.labels.disk==ssd"] }) }),
    });
    expect(plan(placed, [], { nodes }).create).toEqual([create("n3", RUNNING)]);
  });

  it("leaves nodes that drain, are down, gone, or match no more", () => {
    const tasks = [on("a", "n1"), on("b", "n2"), on("c", "n3"), on("d", "n4")];
    const nodes = [node("n1", { availability: DRAIN }), node("n2", { state: DOWN }), node("n4")];
    const s = global();
    expect(plan(s, tasks, { nodes }).desire).toEqual(["a", "b", "c"].map((id) => desire(id, SHUTDOWN)));
    const elsewhere = global({
      task: TaskSpec.create({ placement: Placement.create({ constraints: ["node.id==n9"] }) }),
    });
    expect(plan(elsewhere, [on("d", "n4")], { nodes: [node("n4")] }).desire).toEqual([desire("d", SHUTDOWN)]);
  });

  it("leaves paused and silent nodes as they are: no new task, no update, no end", () => {
    const nodes = [
      node("n1", { availability: PAUSE }),
      node("n2", { state: DISCONNECTED }),
      node("n3", { availability: PAUSE }),
    ];
    const tasks = [on("a", "n1"), on("b", "n2")];
    expect(plan(global(), tasks, { nodes })).toMatchObject({ create: [], desire: [] });
    const next = { ...global({ task: TaskSpec.create({ forceUpdate: 1 }) }), specVersion: { index: 2 } };
    expect(plan(next, tasks, { nodes })).toMatchObject({ create: [], desire: [], service: undefined });
  });

  it("is back on a node that was lost with what ran there, and rests where its policy says so", () => {
    const lost = on("a", "n1", { state: FAILED, desired: SHUTDOWN });
    const nodes = [node("n1")];
    expect(plan(global(), [lost], { nodes }).create).toEqual([create("n1", RUNNING)]);
    const restart = RestartPolicy.create({ condition: RestartPolicy_RestartCondition.NONE });
    expect(plan(global({ task: TaskSpec.create({ restart }) }), [lost], { nodes }).create).toEqual([]);
  });
});

describe("a slot filled anew", () => {
  it("is held until what still stops there has stopped", () => {
    const stopping = task("a", { desired: SHUTDOWN });
    const ended = task("b", { state: FAILED, desired: SHUTDOWN, createdMs: t0 + 1 });
    expect(plan(service({ replicas: 1 }), [stopping, ended]).create).toEqual([create(1, READY)]);
    expect(plan(service({ replicas: 1 }), [ended]).create).toEqual([create(1, RUNNING)]);
  });

  it("is held while the task of a slot that was given up still stops there", () => {
    const s = service({ replicas: 1 });
    const given = (state: TaskState) => task("a", { desired: REMOVE, state });
    expect(plan(s, [given(RUNNING)]).create).toEqual([create(1, READY)]);
    const held = task("b", { node: "n2", state: READY, desired: READY, createdMs: t0 + 1 });
    expect(plan(s, [given(RUNNING), held], { nowMs: t0 + 2 })).toMatchObject({ desire: [], wakeAtMs: t0 + 60_001 });
    expect(plan(s, [given(SHUTDOWN), held], { nowMs: t0 + 2 }).desire).toEqual([desire("b", RUNNING)]);
  });

  it("is held while one that a manager rejected still runs, until its node says that it does not", () => {
    const rejected = (appliedAt: Task["status"]["appliedAt"]) => ({
      ...task("a", {}),
      status: TaskStatus.create({ state: TaskState.REJECTED, message: enforcedMessage, appliedAt }),
    });
    const s = service({ replicas: 1 });
    expect(plan(s, [rejected(undefined)])).toMatchObject({
      desire: [desire("a", SHUTDOWN)],
      create: [create(1, READY)],
    });
    const successor = task("b", { node: "n2", state: READY, desired: READY, createdMs: t0 + 1 });
    const given = (first: Task) => plan(s, [{ ...first, desiredState: SHUTDOWN }, successor], { nowMs: t0 + 9_000 });
    expect(given(rejected(undefined)).desire).toEqual([]);
    expect(given(rejected(timestampOfMs(t0))).desire).toEqual([desire("b", RUNNING)]);
  });
});

describe("a successor", () => {
  const slot = [task("old", { desired: SHUTDOWN }), task("new", { state: READY, desired: READY, createdMs: t0 + 1 })];
  const s = service({ replicas: 1 });

  it("waits a minute at most for the old task to stop, and not for one on a lost node", () => {
    expect(plan(s, slot, { nowMs: t0 + 59_000 })).toMatchObject({ desire: [], wakeAtMs: t0 + 60_001 });
    expect(plan(s, slot, { nowMs: t0 + 60_001 }).desire).toEqual([desire("new", RUNNING)]);
    const nodes = [node("n1", { state: NodeStatus_State.DOWN })];
    const elsewhere = [slot[0]!, { ...slot[1]!, nodeId: "n2" }];
    expect(plan(s, elsewhere, { nodes: [...nodes, node("n2")], nowMs: t0 + 1 }).desire).toEqual([
      desire("new", RUNNING),
    ]);
  });

  it("attempts are counted within the window before the end", () => {
    const restart = RestartPolicy.create({
      condition: RestartPolicy_RestartCondition.ANY,
      maxAttempts: 1,
      window: { seconds: 10, nanos: 0 },
    });
    const limited = service({ replicas: 1, task: TaskSpec.create({ restart }) });
    const first = task("a", { state: FAILED, desired: SHUTDOWN, createdMs: t0 - 60_000 });
    const second = (createdMs: number) => task("b", { state: FAILED, createdMs });
    expect(plan(limited, [first, second(t0 - 5_000)]).create).toEqual([]);
    expect(plan(limited, [first, second(t0 - 30_000)]).create).toEqual([create(1, READY)]);
  });
});

describe("jobs", () => {
  const jobStatus = JobStatus.create({ jobIteration: { index: 1 } });
  const job = (totalCompletions: number, maxConcurrent: number): Service => {
    const spec = ServiceSpec.create({ replicatedJob: ReplicatedJob.create({ totalCompletions, maxConcurrent }) });
    return Service.create({ id: "s", spec, specVersion: { index: 1 }, jobStatus });
  };
  const run = (id: string, slot: number, init: TaskInit = {}) =>
    task(id, { slot, desired: COMPLETE, iteration: 1, ...init });

  it("begins as many slots as may run at once, from 0", () => {
    expect(plan(job(4, 2), []).create).toEqual([create(0, COMPLETE), create(1, COMPLETE)]);
  });

  it("begins the next slot for one that has completed, and stops at the total", () => {
    const some = [run("a", 0, { state: COMPLETE }), run("b", 1)];
    expect(plan(job(4, 2), some).create).toEqual([create(2, COMPLETE)]);
    const all = [0, 1, 2].map((slot) => run(`t${slot}`, slot, { state: COMPLETE }));
    expect(plan(job(3, 2), all)).toMatchObject({ create: [], desire: [] });
  });

  it("tries a failed task again after the delay, within MaxConcurrent", () => {
    const failed = run("a", 0, { state: FAILED });
    const first = plan(job(2, 1), [failed]);
    expect(first.desire).toEqual([desire("a", SHUTDOWN)]);
    expect(first.create).toEqual([create(0, READY)]);
    const ended = run("a", 0, { state: FAILED, desired: SHUTDOWN });
    const held = run("b", 0, { state: READY, desired: READY, createdMs: t0 + 5 });
    expect(plan(job(2, 1), [ended, held], { nowMs: t0 + 20 })).toMatchObject({ create: [], wakeAtMs: t0 + 5_005 });
    expect(plan(job(2, 1), [ended, held], { nowMs: t0 + 5_005 }).desire).toEqual([desire("b", COMPLETE)]);
  });

  it("a completed task is never restarted, though the condition is any", () => {
    const restart = RestartPolicy.create({ condition: RestartPolicy_RestartCondition.ANY });
    const s = Service.create({
      id: "s",
      spec: ServiceSpec.create({ globalJob: GlobalJob.create(), task: TaskSpec.create({ restart }) }),
      specVersion: { index: 1 },
      jobStatus,
    });
    const done = run("a", 0, { node: "n1", state: COMPLETE, desired: SHUTDOWN });
    expect(plan(s, [done], { nodes: [node("n1")] }).create).toEqual([]);
  });

  it("gives a failed slot up when its policy says so, and goes on with the next", () => {
    const base = job(2, 1);
    const restart = RestartPolicy.create({ condition: RestartPolicy_RestartCondition.NONE });
    const s = { ...base, spec: { ...base.spec, task: TaskSpec.create({ restart }) } };
    expect(plan(s, [run("a", 0, { state: FAILED, desired: SHUTDOWN })]).create).toEqual([create(1, COMPLETE)]);
  });

  it("removes the tasks of earlier iterations", () => {
    const old = [run("a", 0, { iteration: 0 }), run("b", 1, { iteration: 0, state: COMPLETE })];
    const next = plan(job(1, 1), old);
    expect(next.desire).toEqual([desire("a", REMOVE), desire("b", REMOVE)]);
    expect(next.create).toEqual([create(0, COMPLETE)]);
  });

  it("completes once on each node, also on one that joins", () => {
    const spec = ServiceSpec.create({ globalJob: GlobalJob.create() });
    const s = Service.create({ id: "s", spec, specVersion: { index: 1 }, jobStatus });
    const done = run("a", 0, { node: "n1", state: COMPLETE });
    expect(plan(s, [done], { nodes: [node("n1"), node("n2")] }).create).toEqual([create("n2", COMPLETE)]);
  });
});

describe("a pass over very many tasks", () => {
  const many = 3_000;
  /** Reads of a task between two steps: a step is of 128 of them, and few reads each. */
  const readsMax = 128 * 30;
  const spread = Array.from({ length: many }, (_, i) => task(`t${i}`, { slot: i + 1, node: `n${i % 7}` }));
  const updating = {
    update: UpdateConfig.create({ parallelism: 0 }),
    version: 2,
    task: TaskSpec.create({ forceUpdate: 1 }),
  };

  it.each([
    ["nothing to do", service({ replicas: many }), spread],
    ["some to give up", service({ replicas: many / 2 }), spread],
    ["all to update", service({ replicas: many, ...updating }), spread],
    ["all to restart", service({ replicas: many }), spread.map((each) => ({ ...each, status: failedStatus }))],
    ["all held", service({ replicas: many }), spread.map((each) => ({ ...each, desiredState: READY }))],
    ["a job", jobOf(many), spread.map((each) => ({ ...each, desiredState: COMPLETE, jobIteration: { index: 1 } }))],
  ])("is made in short steps, with %s", (_what, s, tasks) => {
    let reads = 0;
    const counted = tasks.map(
      (each) =>
        new Proxy(each, {
          get(target, key) {
            reads++;
            return Reflect.get(target, key);
          },
        }),
    );
    const observed = { nowMs: t0 + 120_000, node: () => node("n1"), runningSinceMs: () => undefined };
    const steps = planService(s, counted, [], observed);
    let most = 0;
    for (let step = steps.next(); !step.done; step = steps.next()) {
      most = Math.max(most, reads);
      reads = 0;
    }
    expect(Math.max(most, reads)).toBeLessThanOrEqual(readsMax);
    expect(most).toBeGreaterThan(0);
  });
});
