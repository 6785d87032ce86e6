import {
  RestartPolicy,
  RestartPolicy_RestartCondition,
  type Task,
  TaskState,
  UpdateConfig,
  UpdateConfig_FailureAction,
  UpdateConfig_UpdateOrder,
} from "@starling/api";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkRest, checkSlots, happening, Model, modes, play, settle } from "../plan-model.ts";
import { hasEnded, isWanted } from "../slot.ts";
import { isDone, surplusHistory } from "./reap.ts";

const { ANY, ON_FAILURE } = RestartPolicy_RestartCondition;
const { STOP_FIRST, START_FIRST } = UpdateConfig_UpdateOrder;
const { CONTINUE, PAUSE } = UpdateConfig_FailureAction;

/** What the reaper would remove now, by the slot it is in; every slot is looked at. */
function surplus(model: Model, limit: number): Task[] {
  const slots = Map.groupBy(
    [...model.tasks.values()].filter((task) => task.desiredState < TaskState.REMOVE),
    (task) => (model.service.spec.global || model.service.spec.globalJob ? task.nodeId : task.slot),
  );
  return [...slots.values()].flatMap((slot) => {
    const gone = surplusHistory(slot, model.service, limit);
    const left = slot.filter((task) => !gone.includes(task));
    expect(left, "the slot keeps a record").not.toEqual([]);
    expect(surplusHistory(left, model.service, limit), "nothing more is surplus then").toEqual([]);
    return gone;
  });
}

function reap(model: Model, limit: number): void {
  const before = model.plan();
  const gone = [...surplus(model, limit), ...[...model.tasks.values()].filter(isDone)];
  for (const task of gone) {
    expect(hasEnded(task) || task.desiredState === TaskState.REMOVE, `${task.id} goes`).toBe(true);
    expect(isWanted(task), `${task.id} goes, and is wanted`).toBe(false);
    model.tasks.delete(task.id);
  }
  const after = model.plan();
  expect(after.create, `without ${gone.map(({ id }) => id)}`).toEqual(before.create);
  expect(after.desire).toEqual(before.desire.filter(({ taskId }) => model.tasks.has(taskId)));
  expect(after.service?.updateStatus.state).toEqual(before.service?.updateStatus.state);
}

describe.each(modes)("history of a %s service, reaped at any time", (mode) => {
  it("is within its limit, and what is planned is the same without what went", () => {
    const scenario = fc.record({
      replicas: fc.integer({ min: 0, max: 4 }),
      limit: fc.nat(3),
      update: fc.record({
        parallelism: fc.nat(2),
        order: fc.constantFrom(STOP_FIRST, START_FIRST),
        failureAction: fc.constantFrom(CONTINUE, CONTINUE, PAUSE),
        maxFailureRatio: fc.constantFrom(0, 0.5),
      }),
      restart: fc.record({ condition: fc.constantFrom(ANY, ON_FAILURE), maxAttempts: fc.constantFrom(0, 0, 1, 2) }),
      happenings: fc.array(
        fc.oneof({ weight: 12, arbitrary: happening }, { weight: 3, arbitrary: fc.constant("reap") }),
        {
          maxLength: 80,
        },
      ),
    });
    const property = fc.property(scenario, ({ replicas, limit, update, restart, happenings }) => {
      const model = new Model(mode, replicas, UpdateConfig.create(update), RestartPolicy.create(restart));
      for (const each of happenings) {
        model.pass();
        if (each === "reap") reap(model, limit);
        else play(model, each);
        checkSlots(model, update.order);
      }
      settle(model, update.order, () => reap(model, limit));
      if (restart.maxAttempts === 0 && update.failureAction === CONTINUE) checkRest(model);
      expect(surplus(model, limit)).toEqual([]);
    });
    fc.assert(property, { numRuns: 50, seed: 13 });
  });
});
