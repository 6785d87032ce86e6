import {
  Annotations,
  enforcedMessage,
  GlobalJob,
  GlobalService,
  JobStatus,
  Meta,
  Node,
  NodeSpec,
  NodeSpec_Availability,
  NodeStatus,
  NodeStatus_State,
  Placement,
  ReplicatedJob,
  ReplicatedService,
  RestartPolicy,
  RestartPolicy_RestartCondition,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
  UpdateStatus,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { atOnce } from "@starling/base";
import { describe, expect, it } from "vitest";
import { planService } from "./plan-service.ts";

const t0 = 1_000_000;
const { NEW, READY, RUNNING, COMPLETE, FAILED, SHUTDOWN, REMOVE } = TaskState;

function service(
  over: Partial<ServiceSpec> & { replicas?: number; version?: number; task?: TaskSpec },
  status?: UpdateStatus,
): Service {
  const { replicas = 3, version = 1, ...spec } = over;
  return Service.create({
    id: "s",
    spec: ServiceSpec.create({ replicated: ReplicatedService.create({ replicas }), ...spec }),
    specVersion: { index: version },
    updateStatus: status,
  });
}

interface TaskInit {
  slot?: number;
  node?: string;
  state?: TaskState;
  desired?: TaskState;
  version?: number;
  createdMs?: number;
  force?: number;
  iteration?: number;
}
function task(id: string, init: TaskInit): Task {
  const { slot = 1, node = "n1", state = RUNNING, desired = RUNNING, version = 1, createdMs = t0, force = 0 } = init;
  const { iteration } = init;
  return Task.create({
    id,
    serviceId: "s",
    slot,
    nodeId: node,
    spec: TaskSpec.create({ forceUpdate: force }),
    specVersion: { index: version },
    meta: Meta.create({ createdAt: timestampOfMs(createdMs) }),
    status: TaskStatus.create({ state, timestamp: timestampOfMs(t0), appliedAt: timestampOfMs(t0) }),
    desiredState: desired,
    jobIteration: iteration === undefined ? undefined : { index: iteration },
  });
}

function node(id: string, over: { state?: NodeStatus_State; availability?: NodeSpec_Availability } = {}): Node {
  return Node.create({
    id,
    spec: NodeSpec.create({
      annotations: Annotations.create(),
      availability: over.availability ?? NodeSpec_Availability.ACTIVE,
    }),
    status: NodeStatus.create({ state: over.state ?? NodeStatus_State.READY }),
  });
}

function plan(
  s: Service,
  tasks: readonly Task[],
  options: { nowMs?: number; nodes?: readonly Node[]; runningSince?: Readonly<Record<string, number>> } = {},
) {
  const nodes = options.nodes ?? [node("n1"), node("n2")];
  const observed = {
    nowMs: options.nowMs ?? t0,
    node: (id: string) => nodes.find((n) => n.id === id),
    runningSinceMs: (id: string) => options.runningSince?.[id],
  };
  return atOnce(planService(s, tasks, nodes, observed))!;
}
const failedStatus = TaskStatus.create({ state: FAILED, appliedAt: timestampOfMs(t0) });

function jobOf(totalCompletions: number): Service {
  const spec = ServiceSpec.create({ replicatedJob: ReplicatedJob.create({ totalCompletions }) });
  return Service.create({ id: "s", spec, jobStatus: JobStatus.create({ jobIteration: { index: 2 } }) });
}
const desire = (taskId: string, state: TaskState) => ({ taskId, state });
const create = (slot: number | string, desiredState: TaskState) => ({ slot, desiredState });

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

describe("update", () => {
  const updating = UpdateStatus.create({ state: UpdateStatus_UpdateState.UPDATING, startedAt: timestampOfMs(t0) });
  const newSpec = TaskSpec.create({ forceUpdate: 1 });
  const old = [1, 2, 3].map((slot) => task(`o${slot}`, { slot, createdMs: t0 - 60_000 }));

  it("starts with one slot: old one stops, new one waits at READY", () => {
    const p = plan(service({ version: 2, task: newSpec }), old);
    expect(p.service?.updateStatus.state).toBe(UpdateStatus_UpdateState.UPDATING);
    expect(p.desire).toEqual([desire("o1", SHUTDOWN)]);
    expect(p.create).toEqual([create(1, READY)]);
  });

  it("goes on with the next slot only when the new task runs and the delay is over", () => {
    const update = UpdateConfig.create({ parallelism: 1, delay: { seconds: 2, nanos: 0 } });
    const s = service({ version: 2, task: newSpec, update }, updating);
    const stopped = { ...old[0]!, desiredState: SHUTDOWN, status: TaskStatus.create({ state: SHUTDOWN }) };
    const starting = task("n1", { version: 2, force: 1, state: READY, desired: RUNNING });
    expect(plan(s, [stopped, starting, old[1]!, old[2]!]).create).toEqual([]);
    const running = task("n1", { version: 2, force: 1 });
    const rest = [stopped, running, old[1]!, old[2]!];
    const early = plan(s, rest, { nowMs: t0 + 1_000, runningSince: { n1: t0 + 500 } });
    expect(early.create).toEqual([]);
    expect(early.wakeAtMs).toBe(t0 + 2_500);
    const later = plan(s, rest, { nowMs: t0 + 2_500, runningSince: { n1: t0 + 500 } });
    expect(later.create).toEqual([create(2, READY)]);
    expect(later.desire).toEqual([desire("o2", SHUTDOWN)]);
  });

  it("start-first keeps the old task until the new one runs", () => {
    const update = UpdateConfig.create({ parallelism: 2, order: UpdateConfig_UpdateOrder.START_FIRST });
    const s = service({ version: 2, task: newSpec, update }, updating);
    const first = plan(s, old);
    expect(first.create).toEqual([create(1, RUNNING), create(2, RUNNING)]);
    expect(first.desire).toEqual([]);
    const running = task("n1", { version: 2, force: 1 });
    const second = plan(s, [...old, running], { runningSince: { n1: t0 } });
    expect(second.desire).toEqual([desire("o1", SHUTDOWN)]);
  });

  it("completes when every new task has run for the monitored time", () => {
    const s = service({ version: 2, task: newSpec }, updating);
    const running = [1, 2, 3].map((slot) => task(`n${slot}`, { slot, version: 2, force: 1, createdMs: t0 + 1 }));
    const runningSince = { n1: t0, n2: t0, n3: t0 + 300 };
    const early = plan(s, running, { nowMs: t0 + 1_000, runningSince });
    expect(early.service).toBeUndefined();
    expect(early.wakeAtMs).toBe(t0 + 5_300);
    const late = plan(s, running, { nowMs: t0 + 5_300, runningSince });
    expect(late.service?.updateStatus).toMatchObject({
      state: UpdateStatus_UpdateState.COMPLETED,
      message: "update completed",
    });
  });

  it("pauses at the first early end, naming the task, and leaves the rest alone", () => {
    const s = service({ version: 2, task: newSpec }, updating);
    const failed = task("n1", { version: 2, force: 1, state: FAILED });
    const p = plan(s, [failed, old[1]!, old[2]!], { runningSince: { n1: t0 - 100 } });
    expect(p.service?.updateStatus).toMatchObject({
      state: UpdateStatus_UpdateState.PAUSED,
      message: "update paused due to failure or early termination of task n1",
    });
    expect(p.desire.map((step) => step.taskId)).toEqual(["n1"]);
  });

  it("rolls back to the previous spec when told to", () => {
    const update = UpdateConfig.create({ parallelism: 1, failureAction: UpdateConfig_FailureAction.ROLLBACK });
    const previousSpec = ServiceSpec.create({ replicated: ReplicatedService.create({ replicas: 3 }) });
    const s = {
      ...service({ version: 2, task: newSpec, update }, updating),
      previousSpec,
      previousSpecVersion: { index: 1 },
    };
    const failed = task("n1", { version: 2, force: 1, state: FAILED, desired: SHUTDOWN });
    const p = plan(s, [failed, task("n1b", { version: 2, force: 1, state: READY, desired: READY }), old[1]!, old[2]!]);
    expect(p.service?.rollback).toEqual({ spec: previousSpec, specVersion: { index: 1 } });
    expect(p.service?.updateStatus.message).toBe("update rolled back due to failure or early termination of task n1");
  });

  describe("with a deadline", () => {
    const annotations = Annotations.create({ labels: { "io.starling.update-deadline": "1m" } });
    const deadlineMs = t0 + 60_000;
    const stopped = { ...old[0]!, desiredState: SHUTDOWN, status: TaskStatus.create({ state: SHUTDOWN }) };
    const pending = task("n1", { version: 2, force: 1, state: NEW, createdMs: t0 + 1 });
    const why = TaskStatus.create({ ...pending.status, err: "no suitable node" });
    const tasks = [stopped, { ...pending, status: why }, old[1]!, old[2]!];

    it("is looked at again when that is over, and pauses then, saying what is missing", () => {
      const s = service({ version: 2, task: newSpec, annotations }, updating);
      expect(plan(s, tasks, { nowMs: deadlineMs - 1 })).toMatchObject({ service: undefined, wakeAtMs: deadlineMs });
      expect(plan(s, tasks, { nowMs: deadlineMs }).service?.updateStatus).toMatchObject({
        state: UpdateStatus_UpdateState.PAUSED,
        message:
          "update paused since its deadline of 1m has passed with 0 of 3 tasks updated: task n1: no suitable node",
      });
    });

    it("rolls back when told to, and the rollback has its own", () => {
      const update = UpdateConfig.create({ parallelism: 1, failureAction: UpdateConfig_FailureAction.ROLLBACK });
      const previousSpec = ServiceSpec.create({ replicated: ReplicatedService.create({ replicas: 3 }), annotations });
      const s = { ...service({ version: 2, task: newSpec, update, annotations }, updating), previousSpec };
      const { rollback, updateStatus } = plan(s, tasks, { nowMs: deadlineMs }).service!;
      expect(rollback?.spec).toBe(previousSpec);
      expect(updateStatus).toMatchObject({
        state: UpdateStatus_UpdateState.ROLLBACK_STARTED,
        message: expect.stringMatching(/^update rolled back since its deadline of 1m has passed/),
      });
      const back = { ...service({ version: 3, annotations }, updateStatus), previousSpec };
      const stuck = task("r1", { version: 3, state: NEW, createdMs: deadlineMs });
      const rollingBack = plan(back, [stuck, ...[2, 3].map((slot) => task(`r${slot}`, { slot, version: 3 }))], {
        nowMs: deadlineMs + 60_000,
      });
      expect(rollingBack.service?.updateStatus).toMatchObject({
        state: UpdateStatus_UpdateState.ROLLBACK_PAUSED,
        message: expect.stringMatching(
          /^rollback paused since its deadline of 1m has passed with 2 of 3 tasks updated/,
        ),
      });
    });

    it("is in time when all tasks run by then, however long they are watched", () => {
      const update = UpdateConfig.create({ parallelism: 1, monitor: { seconds: 300, nanos: 0 } });
      const s = service({ version: 2, task: newSpec, annotations, update }, updating);
      const running = [1, 2, 3].map((slot) => task(`n${slot}`, { slot, version: 2, force: 1, createdMs: t0 + 1 }));
      const runningSince = { n1: t0, n2: t0, n3: t0 };
      const p = plan(s, running, { nowMs: deadlineMs + 1, runningSince });
      expect(p).toMatchObject({ service: undefined, wakeAtMs: t0 + 300_000 });
    });
  });

  it("replaces nothing when only the number of replicas changed", () => {
    const p = plan(service({ version: 2, replicas: 3 }), old);
    expect(p).toMatchObject({ create: [], desire: [], service: undefined });
  });
});

describe("updates beyond the ordinary", () => {
  const updating = UpdateStatus.create({ state: UpdateStatus_UpdateState.UPDATING, startedAt: timestampOfMs(t0) });
  const newSpec = TaskSpec.create({ forceUpdate: 1 });
  const old = [1, 2, 3, 4].map((slot) => task(`o${slot}`, { slot, createdMs: t0 - 60_000 }));
  const config = (over: Partial<UpdateConfig>) => UpdateConfig.create({ parallelism: 1, ...over });
  const updated = (over: Partial<UpdateConfig>) =>
    service({ replicas: 4, version: 2, task: newSpec, update: config(over) }, updating);
  const fresh = (slot: number, init: TaskInit = {}) =>
    task(`f${slot}`, { slot, version: 2, force: 1, createdMs: t0 + 1, ...init });

  it("parallelism 0 replaces all slots at once", () => {
    expect(plan(updated({ parallelism: 0 }), old).create).toEqual([1, 2, 3, 4].map((slot) => create(slot, READY)));
  });

  it("a new spec takes the place of one that is being rolled out", () => {
    const s = service({ replicas: 4, version: 3, task: TaskSpec.create({ forceUpdate: 2 }), update: config({}) });
    const p = plan(s, [fresh(1), ...old.slice(1)]);
    expect(p.service?.updateStatus.state).toBe(UpdateStatus_UpdateState.UPDATING);
    expect(p.create).toEqual([create(1, READY)]);
  });

  it("failures up to the ratio, and with action continue any, do not stop it", () => {
    const failed = fresh(1, { state: FAILED, desired: SHUTDOWN });
    const next = task("f1b", { slot: 1, version: 2, force: 1, createdMs: t0 + 2 });
    const tasks = [failed, next, ...old.slice(1)];
    expect(plan(updated({ maxFailureRatio: 0.25 }), tasks).service).toBeUndefined();
    expect(plan(updated({ maxFailureRatio: 0.2 }), tasks).service?.updateStatus.state).toBe(
      UpdateStatus_UpdateState.PAUSED,
    );
    const carriesOn = updated({ failureAction: UpdateConfig_FailureAction.CONTINUE });
    expect(plan(carriesOn, tasks).service).toBeUndefined();
  });

  it("an end after the monitored time is no failure of the update", () => {
    const failed = {
      ...fresh(1, { desired: SHUTDOWN }),
      status: TaskStatus.create({ state: FAILED, appliedAt: timestampOfMs(t0 + 20_000) }),
    };
    const p = plan(updated({}), [failed, ...old.slice(1)], { nowMs: t0 + 20_000, runningSince: { f1: t0 } });
    expect(p.service).toBeUndefined();
  });

  it("a paused one changes nothing more until the next spec", () => {
    const paused = UpdateStatus.create({ ...updating, state: UpdateStatus_UpdateState.PAUSED });
    const s = service({ replicas: 4, version: 2, task: newSpec }, paused);
    expect(plan(s, old)).toMatchObject({ create: [], desire: [], service: undefined });
  });

  it("a roll-back that fails pauses, and never rolls back twice", () => {
    const rollingBack = UpdateStatus.create({ ...updating, state: UpdateStatus_UpdateState.ROLLBACK_STARTED });
    const rollback = config({ failureAction: UpdateConfig_FailureAction.ROLLBACK });
    const s = {
      ...service({ replicas: 4, version: 2, task: newSpec, rollback }, rollingBack),
      previousSpec: ServiceSpec.create(),
    };
    const next = task("f1b", { slot: 1, version: 2, force: 1, state: READY, desired: READY, createdMs: t0 + 2 });
    const p = plan(s, [fresh(1, { state: FAILED, desired: SHUTDOWN }), next, ...old.slice(1)]);
    expect(p.service?.rollback).toBeUndefined();
    expect(p.service?.updateStatus).toMatchObject({
      state: UpdateStatus_UpdateState.ROLLBACK_PAUSED,
      message: "rollback paused due to failure or early termination of task f1",
    });
  });

  it("a roll-back that is through is completed as such", () => {
    const rollingBack = UpdateStatus.create({ ...updating, state: UpdateStatus_UpdateState.ROLLBACK_STARTED });
    const s = service({ replicas: 1, version: 2, task: newSpec }, rollingBack);
    const p = plan(s, [fresh(1)], { nowMs: t0 + 6_000, runningSince: { f1: t0 } });
    expect(p.service?.updateStatus).toMatchObject({
      state: UpdateStatus_UpdateState.ROLLBACK_COMPLETED,
      message: "rollback completed",
    });
  });

  it("a delay as long as the monitored time is waited out, and a second more", () => {
    const s = {
      ...updated({ delay: { seconds: 7, nanos: 0 } }),
      spec: updated({ delay: { seconds: 7, nanos: 0 } }).spec,
    };
    const all = [1, 2, 3, 4].map((slot) => fresh(slot));
    const runningSince = { f1: t0, f2: t0, f3: t0, f4: t0 };
    expect(plan(s, all, { nowMs: t0 + 7_500, runningSince }).wakeAtMs).toBe(t0 + 8_000);
    expect(plan(s, all, { nowMs: t0 + 8_000, runningSince }).service?.updateStatus.state).toBe(
      UpdateStatus_UpdateState.COMPLETED,
    );
  });

  it("what an abandoned start-first left beside a current task is ended, whatever the order is now", () => {
    const s = service({ replicas: 1, version: 1 });
    const beside = task("x", { slot: 1, version: 2, force: 1, createdMs: t0 + 1 });
    expect(plan(s, [old[0]!, beside]).desire).toEqual([desire("x", SHUTDOWN)]);
  });

  it("of two that the spec of now is content with, the later one stays", () => {
    const s = service({ replicas: 1, version: 3 });
    const tasks = [task("a", { slot: 1 }), task("b", { slot: 1, version: 2, createdMs: t0 + 1 })];
    expect(plan(s, tasks).desire).toEqual([desire("a", SHUTDOWN)]);
  });

  describe("a start-first whose new task fails", () => {
    const order = UpdateConfig_UpdateOrder.START_FIRST;
    const carriesOn = updated({ order, failureAction: UpdateConfig_FailureAction.CONTINUE });
    const failed = fresh(1, { state: FAILED, desired: SHUTDOWN });

    it("is tried in the other slots first, and again after the restart delay", () => {
      const p = plan(carriesOn, [old[0]!, failed, ...old.slice(1)]);
      expect(p).toMatchObject({ create: [create(2, RUNNING)], wakeAtMs: t0 + 5_000 });
      const all = old.flatMap((each, i) => [each, fresh(i + 1, { state: FAILED, desired: SHUTDOWN })]);
      expect(plan(carriesOn, all, { nowMs: t0 + 4_999 }).create).toEqual([]);
      expect(plan(carriesOn, all, { nowMs: t0 + 5_000 }).create).toEqual([create(1, RUNNING)]);
    });

    it("and is tried again, takes one of the places that parallelism gives", () => {
      const again = task("again", { slot: 1, version: 2, force: 1, state: NEW, createdMs: t0 + 5_000 });
      const with1 = (first: Task) => plan(carriesOn, [first, failed, again, ...old.slice(1)], { nowMs: t0 + 5_001 });
      expect(with1(old[0]!).create).toEqual([]);
      // Lost with its node meanwhile, where it may run still.
      expect(with1({ ...old[0]!, desiredState: SHUTDOWN }).create).toEqual([]);
      // What is made in the place of one that had ended is a restart, beside which the update goes on.
      const ended = { ...old[0]!, desiredState: SHUTDOWN, status: failedStatus };
      expect(with1(ended).create).toEqual([create(2, RUNNING)]);
    });
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
