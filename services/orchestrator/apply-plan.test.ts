import { moveLabelOf, TaskState, withMoveLabel } from "@starling/api";
import { FakeClock } from "@starling/base";
import { byService, MemoryStore } from "@starling/store";
import { expect, it } from "vitest";
import { applyPlan } from "./apply-plan.ts";
import { emptyPlan } from "./plan.ts";
import { service, task } from "./plan-fixture.ts";

it("a task is moved once, though the same plan is applied twice", async () => {
  const store = new MemoryStore({ clock: new FakeClock() });
  const s = service({ replicas: 1 });
  await store.update((tx) => {
    tx.services.create(s);
    tx.tasks.create(withMoveLabel(task("a", {}), "moveTo", "n2"));
  });
  let made = 0;
  const context = { newId: () => `new${made++}`, nowMs: 0 };
  const plan = emptyPlan();
  plan.moves.push({ t: "move", slot: 1, taskId: "a", nodeId: "n2", startFirst: true });
  await applyPlan(store, s, plan, context);
  await applyPlan(store, s, plan, context);
  const tasks = store.view((tx) => tx.tasks.find(byService("s")));
  expect(tasks.map(({ id, desiredState }) => [id, desiredState])).toEqual([
    ["a", TaskState.RUNNING],
    ["new0", TaskState.RUNNING],
  ]);
  expect(tasks.map((each) => moveLabelOf(each, "wish"))).toEqual([undefined, "n2"]);
});
