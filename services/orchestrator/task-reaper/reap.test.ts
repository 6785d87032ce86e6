import {
  Meta,
  RestartPolicy,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateStatus,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { describe, expect, it } from "vitest";
import { isDone, surplusHistory } from "./reap.ts";

const { RUNNING, COMPLETE, SHUTDOWN, FAILED } = TaskState;
const { PAUSE, CONTINUE } = UpdateConfig_FailureAction;
const { UPDATING } = UpdateStatus_UpdateState;

/** A task of one slot; `id` also says how old it is: "1" is the oldest. */
function task(id: string, state: TaskState, desired: TaskState = SHUTDOWN): Task {
  const meta = Meta.create({ createdAt: timestampOfMs(Number(id)) });
  return Task.create({
    id,
    serviceId: "s",
    slot: 1,
    meta,
    desiredState: desired,
    status: TaskStatus.create({ state }),
  });
}

const idsOf = (tasks: readonly Task[]) => tasks.map(({ id }) => id);

describe("surplus history", () => {
  const past = [task("1", FAILED), task("2", SHUTDOWN), task("3", FAILED)];

  it("is the oldest beyond the limit, in which the running task counts", () => {
    expect(idsOf(surplusHistory([...past, task("4", RUNNING, RUNNING)], undefined, 2))).toEqual(["1", "2"]);
    expect(idsOf(surplusHistory(past, undefined, 2))).toEqual(["1"]);
    expect(surplusHistory(past, undefined, -1)).toEqual([]);
  });

  it("leaves the last record of a slot that rests: without it the slot would be begun again", () => {
    expect(idsOf(surplusHistory(past, undefined, 0))).toEqual(["1", "2"]);
  });

  it("is not what restarts are counted from: as many as may be, and the first", () => {
    const restart = RestartPolicy.create({ maxAttempts: 2 });
    const service = Service.create({ spec: ServiceSpec.create({ task: TaskSpec.create({ restart }) }) });
    expect(surplusHistory(past, service, 1)).toEqual([]);
    expect(idsOf(surplusHistory([...past, task("4", FAILED)], service, 1))).toEqual(["1"]);
    expect(idsOf(surplusHistory(past, service, 2)), "a larger limit counts").toEqual([]);
  });

  it("is not what a held task follows: that says when it may start", () => {
    const held = task("4", RUNNING, TaskState.READY);
    expect(idsOf(surplusHistory([...past, held], undefined, 0))).toEqual(["1", "2"]);
    expect(idsOf(surplusHistory([...past, { ...held, desiredState: RUNNING }], undefined, 0))).toEqual(["1", "2", "3"]);
  });

  it.each([
    ["that stops at failures: all that failed are counted", PAUSE, ["2"]],
    ["that goes on: the newest says when its slot is tried again", CONTINUE, ["1", "2"]],
  ])("is not what an update asks for %s", (_what, failureAction, gone) => {
    const spec = ServiceSpec.create({ update: UpdateConfig.create({ failureAction }) });
    const updating = { updateStatus: UpdateStatus.create({ state: UPDATING }) };
    const failed = [...past, task("4", RUNNING, RUNNING)];
    expect(idsOf(surplusHistory(failed, Service.create({ spec, ...updating }), 1))).toEqual(gone);
    expect(idsOf(surplusHistory(failed, Service.create({ spec }), 1))).toEqual(["1", "2", "3"]);
  });

  it("leaves a job's completion", () => {
    expect(surplusHistory([task("1", COMPLETE, COMPLETE)], undefined, 0)).toEqual([]);
  });
});

describe("a record goes", () => {
  it.each([
    ["wanted gone, not yet on a node", TaskState.PENDING, TaskState.REMOVE, "s", true],
    ["wanted gone, on a node", TaskState.RUNNING, TaskState.REMOVE, "s", false],
    ["wanted gone, ended", SHUTDOWN, TaskState.REMOVE, "s", true],
    ["orphaned, of a service", TaskState.ORPHANED, SHUTDOWN, "s", false],
    ["orphaned, of no service", TaskState.ORPHANED, SHUTDOWN, "", true],
    ["failed, of no service", FAILED, SHUTDOWN, "", false],
  ])("%s", (_what, state, desired, serviceId, goes) => {
    expect(isDone({ ...task("1", state, desired), serviceId })).toBe(goes);
  });
});
