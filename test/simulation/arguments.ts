import { parseArgs } from "node:util";
import { membersUsual } from "./faults.ts";
import { mutantNamed, mutants } from "./mutants.ts";

export type Arguments =
  | {
      readonly t: "ok";
      readonly seed: number;
      readonly steps: number;
      readonly seeds: number;
      /** A group has this many members at most. */
      readonly members: number;
      /** Processes that share the seeds. */
      readonly jobs: number;
      /** Look for this mutant, or for all. */
      readonly hunt: string | undefined;
    }
  | { readonly t: "bad"; readonly explain: string };

const usage = "npm run sim -- --seed S [--steps N] [--seeds K] [--jobs J] [--members M] [--mutants | --mutant NAME]";

/** The command line: `--seeds` runs that many seeds from `--seed` on. */
export function readArguments(args: readonly string[]): Arguments {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: "string", default: "1" },
        steps: { type: "string", default: "2000" },
        seeds: { type: "string" },
        members: { type: "string", default: String(membersUsual) },
        jobs: { type: "string", default: "1" },
        mutants: { type: "boolean", default: false },
        mutant: { type: "string" },
      },
    });
    const hunt = values.mutants ? "all" : values.mutant;
    const number = (name: string, text: string) => {
      const value = Number(text);
      if (Number.isSafeInteger(value) && value >= 0 && text !== "") return value;
      throw new Error(`--${name} ${text}: give a whole number`);
    };
    if (values.mutant !== undefined && mutantNamed(values.mutant) === undefined) {
      throw new Error(`--mutant ${values.mutant}: there are ${mutants.map(({ name }) => `"${name}"`).join(", ")}`);
    }
    const atLeast = (name: "members" | "jobs", least: number) => {
      const value = number(name, values[name]);
      if (value >= least) return value;
      throw new Error(`--${name} ${value}: give ${least} or more`);
    };
    const seeds = values.seeds ?? (hunt === undefined ? "1" : "200");
    return {
      t: "ok",
      seed: number("seed", values.seed),
      steps: number("steps", values.steps),
      seeds: number("seeds", seeds),
      members: atLeast("members", 3),
      jobs: atLeast("jobs", 1),
      hunt,
    };
  } catch (thrown) {
    return { t: "bad", explain: `${(thrown as Error).message}\n${usage}` };
  }
}
