import {
  NodeSpec_Availability,
  NodeStatus_State,
  UpdateConfig,
  UpdateConfig_UpdateOrder,
  UpdateStatus,
  UpdateStatus_UpdateState,
  withMoveLabel,
} from "@starling/api";
import { describe, expect, it } from "vitest";
import { node, plan, READY, RUNNING, SHUTDOWN, service, task } from "../plan-fixture.ts";

const startFirst = UpdateConfig.create({ order: UpdateConfig_UpdateOrder.START_FIRST });
const toN2 = (over: Parameters<typeof task>[1] = {}) => withMoveLabel(task("a", over), "moveTo", "n2");
const stay = { t: "stay", taskId: "a" };
const move = { t: "move", slot: 1, taskId: "a", nodeId: "n2" };

describe("a task that is to run on another node", () => {
  it("is replaced in its slot, by the order of the service's updates", () => {
    expect(plan(service({ replicas: 1 }), [toN2()]).moves).toEqual([{ ...move, startFirst: false }]);
    const beside = plan(service({ replicas: 1, update: startFirst }), [toN2()]);
    expect(beside.moves).toEqual([{ ...move, startFirst: true }]);
  });

  it.each([
    [
      "an update is under way",
      service({ replicas: 1 }, UpdateStatus.create({ state: UpdateStatus_UpdateState.UPDATING })),
      toN2(),
    ],
    ["it does not run", service({ replicas: 1 }), toN2({ state: READY })],
    ["it is there already", service({ replicas: 1 }), toN2({ node: "n2" })],
  ])("stays where it is when %s", (_why, s, marked) => {
    expect(plan(s, [marked]).moves).toEqual([stay]);
  });

  it.each([
    ["the other node is silent", node("n2", { state: NodeStatus_State.DISCONNECTED })],
    ["the other node is paused", node("n2", { availability: NodeSpec_Availability.PAUSE })],
    ["its own node is silent", node("n1", { state: NodeStatus_State.DISCONNECTED })],
  ])("stays where it is when %s", (_why, changed) => {
    const nodes = [node("n1"), node("n2")].map((each) => (each.id === changed.id ? changed : each));
    expect(plan(service({ replicas: 1 }), [toN2()], { nodes }).moves).toEqual([stay]);
  });

  it("stays when another task is in its slot", () => {
    const p = plan(service({ replicas: 1 }), [toN2(), task("b", { state: READY, createdMs: 2_000_000 })]);
    expect(p.moves).toEqual([stay]);
  });

  it("is left to an update that begins with it", () => {
    const p = plan(service({ replicas: 1, version: 2 }), [toN2({ force: 1 })]);
    expect(p).toMatchObject({ moves: [], create: [{ slot: 1, desiredState: READY }] });
  });

  it("is given up with its slot", () => {
    const p = plan(service({ replicas: 0 }), [toN2()]);
    expect(p.moves).toEqual([]);
  });

  it("ends, start-first, once its replacement runs, and stays when that has failed", () => {
    const s = service({ replicas: 1, update: startFirst });
    const moved = withMoveLabel(task("a", {}), "movedTo", "n2");
    const successor = (over: Parameters<typeof task>[1]) =>
      withMoveLabel(task("b", { node: "n2", createdMs: 2_000_000, ...over }), "wish", "n2");
    expect(plan(s, [moved, successor({ state: READY })])).toMatchObject({ moves: [], desire: [], create: [] });
    expect(plan(s, [moved, successor({ state: RUNNING })]).desire).toEqual([{ taskId: "a", state: SHUTDOWN }]);
    expect(plan(s, [moved, successor({ state: SHUTDOWN, desired: SHUTDOWN })])).toMatchObject({
      moves: [stay],
      create: [],
    });
  });
});
