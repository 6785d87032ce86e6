import { UpdateConfig, UpdateConfig_FailureAction, UpdateConfig_UpdateOrder } from "@starling/api";
import fc from "fast-check";
import { describe, it } from "vitest";
import { checkRest, checkSlots, happening, Model, modes, play, settle } from "./plan-model.ts";

const { STOP_FIRST, START_FIRST } = UpdateConfig_UpdateOrder;

describe.each(modes)("a %s service, whatever happens", (mode) => {
  it.each([
    ["stop-first", STOP_FIRST],
    ["start-first", START_FIRST],
  ])("%s: runs no slot more often than its order allows, and comes to what its spec says", (_name, order) => {
    const failureAction = UpdateConfig_FailureAction.CONTINUE;
    const scenario = fc.record({
      replicas: fc.integer({ min: 0, max: 6 }),
      parallelism: fc.nat(3),
      happenings: fc.array(happening, { maxLength: 80 }),
    });
    const property = fc.property(scenario, ({ replicas, parallelism, happenings }) => {
      const model = new Model(mode, replicas, UpdateConfig.create({ parallelism, order, failureAction }));
      for (const each of happenings) {
        model.pass();
        play(model, each);
        checkSlots(model, order);
      }
      settle(model, order);
      checkRest(model);
    });
    fc.assert(property, { numRuns: 200, seed: 7 });
  });
});
