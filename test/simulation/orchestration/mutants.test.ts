import { describe, expect, it } from "vitest";
import { mutants } from "./mutants.ts";
import { runWorld } from "./world.ts";

const seeds = 25;

describe(`with one rule of a loop switched off, a check fails within ${seeds} seeds`, () => {
  for (const mutant of mutants) {
    it(mutant.name, { timeout: 240_000 }, async () => {
      let violations: readonly string[] = [];
      for (let seed = 1; seed <= seeds && violations.length === 0; seed++) {
        violations = (await runWorld({ seed, steps: 160, nodes: 8, tasks: 80, mutant })).violations;
      }
      expect(violations).not.toEqual([]);
    });
  }
});
