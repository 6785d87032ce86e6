import { describe, expect, it } from "vitest";
import { mutants } from "./mutants.ts";
import { runWorld } from "./world.ts";

const seeds = 200;

describe(`with one rule switched off, a check fails within ${seeds} seeds`, () => {
  for (const mutant of mutants) {
    it(mutant.name, { timeout: 240_000 }, async () => {
      let violation: string | undefined;
      for (let seed = 1; seed <= seeds && violation === undefined; seed++) {
        violation = (await runWorld({ seed, steps: 2_000, mutant })).violation;
      }
      expect(violation).toBeDefined();
    });
  }
});
