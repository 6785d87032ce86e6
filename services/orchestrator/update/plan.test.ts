import {
  Annotations,
  ReplicatedService,
  ServiceSpec,
  type Task,
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
import { describe, expect, it } from "vitest";
import { create, desire, failedStatus, plan, service, type TaskInit, t0, task } from "../plan-fixture.ts";

const { NEW, READY, RUNNING, FAILED, SHUTDOWN } = TaskState;

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
