import { describe, expect, it } from "vitest";
import { mutants } from "./mutants.ts";
import { runWorld } from "./world.ts";

/** Seeds in which each is found within a second or so; `npm run sim -- --mutants` looks for all of them from seed 1 on. */
const foundIn: Readonly<Record<string, number>> = {};

describe("with one rule switched off, a check fails", () => {
  for (const mutant of mutants) {
    it(mutant.name, { timeout: 120_000 }, async () => {
      const seed = foundIn[mutant.name];
      if (seed === undefined)
        throw new Error(`no seed is known for this mutant: npm run sim -- --mutant "${mutant.name}"`);
      const { violation } = await runWorld({ seed, steps: 2_000, mutant });
      expect(violation).toBeDefined();
    });
  }
});
