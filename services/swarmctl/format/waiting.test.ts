import { Node, NodeDescription, NodeStatus, NodeStatus_State, Task, TaskState, TaskStatus } from "@starling/api";
import { expect, it } from "vitest";
import { nodeTrouble, waitsFor } from "./waiting.ts";

const { NEW, PENDING, PREPARING, READY, RUNNING, SHUTDOWN, FAILED } = TaskState;
const task = (state: TaskState, desiredState: TaskState, message = "") =>
  Task.create({ desiredState, status: TaskStatus.create({ state, message }) });

it.each([
  [NEW, RUNNING, "waits for its networks' addresses and ports"],
  [PENDING, RUNNING, "waits for a node"],
  [READY, READY, "waits for the task before it to stop, or for the restart delay"],
  [RUNNING, RUNNING, ""],
  [RUNNING, SHUTDOWN, "is being stopped"],
  [PENDING, SHUTDOWN, ""],
  [FAILED, SHUTDOWN, ""],
])("state %i, desired %i: %s", (state, desired, words) => expect(waitsFor(task(state, desired), "")).toBe(words));

it("tells how far the preparation is", () => {
  expect(waitsFor(task(PREPARING, RUNNING, "pulling: 3 of 5 MB"), "")).toBe("pulling: 3 of 5 MB");
});

it("tells what is wrong with the node that has the task", () => {
  const status = NodeStatus.create({ state: NodeStatus_State.DISCONNECTED, message: "heartbeat failure" });
  const trouble = nodeTrouble(Node.create({ description: NodeDescription.create({ hostname: "w1" }), status }));
  expect(waitsFor(task(RUNNING, RUNNING), trouble)).toBe("node w1 is disconnected: heartbeat failure");
});
