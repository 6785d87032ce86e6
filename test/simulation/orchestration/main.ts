import { parseArgs } from "node:util";
import { type Mutant, mutants } from "./mutants.ts";
import { runWorld, type WorldOptions } from "./world.ts";

/** Last events that are told when a check fails. */
const traced = Number(process.env["SIM_TRACE"] ?? 80);
const usage =
  "npm run sim -- --orchestration --seed S [--steps N] [--seeds K] [--nodes N] [--tasks N] [--mutants | --mutant NAME]";

/** What the command line asks for, or why it cannot be done. */
export type OrchestrationArguments =
  | {
      readonly t: "ok";
      readonly world: WorldOptions;
      readonly seeds: number;
      /** Look for these, one after the other. */
      readonly hunted: readonly Mutant[];
    }
  | { readonly t: "bad"; readonly explain: string };

export function readOrchestrationArguments(args: readonly string[]): OrchestrationArguments {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        orchestration: { type: "boolean" },
        seed: { type: "string", default: "1" },
        seeds: { type: "string" },
        steps: { type: "string", default: "160" },
        nodes: { type: "string", default: "8" },
        tasks: { type: "string", default: "80" },
        mutants: { type: "boolean", default: false },
        mutant: { type: "string" },
      },
    });
    const number = (name: "seed" | "seeds" | "steps" | "nodes" | "tasks", text = values[name] ?? "", least = 1) => {
      const value = Number(text);
      if (Number.isSafeInteger(value) && value >= least && text !== "") return value;
      throw new Error(`--${name} ${text}: give a whole number, ${least} or more`);
    };
    const named = mutants.filter(({ name }) => name === values.mutant);
    if (values.mutant !== undefined && named.length === 0) {
      throw new Error(`--mutant ${values.mutant}: there are ${mutants.map(({ name }) => `"${name}"`).join(", ")}`);
    }
    const hunted = values.mutants ? mutants : named;
    const world = {
      seed: number("seed", values.seed, 0),
      steps: number("steps"),
      nodes: number("nodes"),
      tasks: number("tasks"),
    };
    return { t: "ok", world, seeds: number("seeds", values.seeds ?? (hunted.length > 0 ? "40" : "1")), hunted };
  } catch (thrown) {
    return { t: "bad", explain: `${(thrown as Error).message}\n${usage}` };
  }
}

/** Runs what the command line asks for; the exit code. */
export async function runOrchestration(args: readonly string[]): Promise<number> {
  const parsed = readOrchestrationArguments(args);
  if (parsed.t === "bad") {
    console.error(parsed.explain);
    return 2;
  }
  const { world, seeds, hunted } = parsed;
  if (hunted.length > 0) return await hunt(hunted, world, seeds);
  for (let seed = world.seed; seed < world.seed + seeds; seed++) {
    const started = performance.now();
    const onProgress = (text: string) => console.error(`${secondsSince(started)} s, ${mebibytes()} MiB: ${text}`);
    const { violations, trace, counts } = await runWorld({ ...world, seed, onProgress });
    if (violations.length > 0) {
      console.error(trace.slice(-traced).join("\n"));
      console.error(`\nseed ${seed}:\n${violations.join("\n")}\nagain: ${againCommand({ ...world, seed })}`);
      return 1;
    }
    const { tasks, tasksMade, commits, leaders, changes, refused, virtualMs } = counts;
    console.log(
      `seed ${seed}: tasks equal specs: ${tasks} of ${tasksMade} tasks are left after ${(virtualMs / 1000).toFixed(0)} s; ` +
        `${trace.length} events, ${changes} changes (${refused} refused), ${leaders} leaders, ${commits} commits (${secondsSince(started)} s, at most ${mebibytes()} MiB)`,
    );
  }
  return 0;
}

function secondsSince(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(1);
}

/** Of this process's memory, at its peak. */
function mebibytes(): number {
  return Math.round(process.resourceUsage().maxRSS / 1024);
}

/** How this world is seen again. */
export function againCommand({ seed, steps, nodes, tasks }: WorldOptions): string {
  return `npm run sim -- --orchestration --seed ${seed} --steps ${steps} --nodes ${nodes} --tasks ${tasks}`;
}

/** Looks for each mutant. 1 when one was not found. */
async function hunt(hunted: readonly Mutant[], world: WorldOptions, seeds: number): Promise<number> {
  let missed = 0;
  for (const mutant of hunted) {
    const started = performance.now();
    let found: string | undefined;
    for (let seed = world.seed; seed < world.seed + seeds && found === undefined; seed++) {
      const { violations, trace } = await runWorld({ ...world, seed, mutant });
      if (violations.length > 0 && process.env["SIM_SERVICE"]) console.error(trace.slice(-traced).join("\n"));
      if (violations.length > 0) found = `seed ${seed}: ${violations[0]!.split("\n")[0]}`;
    }
    if (found === undefined) missed++;
    console.log(`${mutant.name}: ${found ?? "NOT FOUND"} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  }
  return missed === 0 ? 0 : 1;
}
