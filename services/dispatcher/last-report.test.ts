import { TaskState, TaskStatus } from "@starling/api";
import { expect, it } from "vitest";
import { LastReport } from "./last-report.ts";

const report = (state: TaskState, seconds: number, message = "started") =>
  TaskStatus.create({ state, timestamp: { seconds, nanos: 1 }, message, portStatus: undefined });

it("reports share what the one before said, and say what they said", () => {
  const last = new LastReport();
  const first = last.applied(report(TaskState.STARTING, 7), "m1", 8_000);
  const second = last.applied(report(TaskState.RUNNING, 7), "m1", 8_000);
  expect(second).toEqual({
    ...report(TaskState.RUNNING, 7),
    appliedBy: "m1",
    appliedAt: { seconds: 8, nanos: 0 },
  });
  expect(second.timestamp).toBe(first.timestamp);
  expect(second.appliedAt).toBe(first.appliedAt);
  const third = last.applied(report(TaskState.RUNNING, 9, "healthy"), "m2", 9_001);
  expect(third).toMatchObject({ timestamp: { seconds: 9 }, message: "healthy", appliedBy: "m2" });
  expect(third.appliedAt).toEqual({ seconds: 9, nanos: 1_000_000 });
  expect(last.applied({ ...third, timestamp: undefined }, "m2", 9_001).timestamp).toBeUndefined();
});
