import { Meta, Task, TaskState, TaskStatus, timestampOfMs } from "@starling/api";
import { describe, expect, it } from "vitest";
import { surplusHistory } from "./reap.ts";

const { RUNNING, COMPLETE, SHUTDOWN, FAILED } = TaskState;

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

  it("leaves a job's completion", () => {
    expect(surplusHistory([task("1", COMPLETE, COMPLETE)], undefined, 0)).toEqual([]);
  });
});
