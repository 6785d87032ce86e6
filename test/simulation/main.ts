import { readArguments } from "./arguments.ts";
import { faultNames } from "./faults.ts";
import { type Mutant, mutantNamed, mutants } from "./mutants.ts";
import { type Outcome, runWorld } from "./world.ts";

// npm run sim -- --seed S --steps N [--seeds K] [--mutants | --mutant NAME]

const parsed = readArguments(process.argv.slice(2));
if (parsed.t === "bad") {
  console.error(parsed.explain);
  process.exit(2);
}
const { seed, steps, seeds, hunt } = parsed;
if (hunt === "all") process.exitCode = await huntAll(mutants, seed, seeds, steps);
else if (hunt !== undefined) process.exitCode = await huntAll([mutantNamed(hunt)!], seed, seeds, steps);
else process.exitCode = await runSeeds(seed, seeds, steps);

/** Runs seed after seed. 1 when a check failed. */
async function runSeeds(first: number, count: number, steps: number): Promise<number> {
  const struck = new Map<string, number>();
  const started = performance.now();
  const totals = { events: 0, virtualMs: 0, committed: 0, writes: 0, acknowledged: 0, reads: 0 };
  for (let seed = first; seed < first + count; seed++) {
    const outcome = await runWorld({ seed, steps });
    for (const [fault, times] of outcome.struck) struck.set(fault, (struck.get(fault) ?? 0) + times);
    for (const key of Object.keys(totals) as (keyof typeof totals)[]) totals[key] += outcome[key];
    if (outcome.violation !== undefined) {
      report(outcome, steps);
      return 1;
    }
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${count} seeds from ${first}, ${steps} steps each: no check failed (${seconds} s)`);
  console.log(
    `${totals.events} events in ${(totals.virtualMs / 1000).toFixed(0)} virtual seconds; ${totals.committed} entries ` +
      `committed, ${totals.acknowledged} of ${totals.writes} writes acknowledged, ${totals.reads} reads`,
  );
  for (const fault of faultNames) console.log(`${String(struck.get(fault) ?? 0).padStart(9)}  ${fault}`);
  return 0;
}

function report({ seed, violation, trace }: Outcome, steps: number): void {
  console.error(trace);
  console.error(`\nseed ${seed}: ${violation}`);
  console.error(`again: npm run sim -- --seed ${seed} --steps ${steps}`);
}

/** Looks for each mutant. 1 when one was not found. */
async function huntAll(hunted: readonly Mutant[], first: number, count: number, steps: number): Promise<number> {
  let missed = 0;
  for (const mutant of hunted) {
    let found: Outcome | undefined;
    const started = performance.now();
    for (let seed = first; seed < first + count && found?.violation === undefined; seed++) {
      found = await runWorld({ seed, steps, mutant });
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    if (found?.violation === undefined) missed++;
    const result = found?.violation === undefined ? "NOT FOUND" : `seed ${found.seed}: ${found.violation}`;
    console.log(`${mutant.name}: ${result} (${seconds} s)`);
  }
  return missed === 0 ? 0 : 1;
}
