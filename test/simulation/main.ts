import { readArguments } from "./arguments.ts";
import { faultNames, membersUsual } from "./faults.ts";
import { type Mutant, mutantNamed, mutants } from "./mutants.ts";
import { runOrchestration } from "./orchestration/main.ts";
import { addTotals, noTotals, runInParallel, type Totals } from "./parallel.ts";
import { type Outcome, runWorld } from "./world.ts";

// npm run sim -- --seed S --steps N [--seeds K] [--jobs J] [--members M] [--mutants | --mutant NAME]
// npm run sim -- --orchestration --seed S --steps N [--seeds K] [--nodes N] [--tasks N] [--mutants | --mutant NAME]

if (process.argv.includes("--orchestration")) process.exit(await runOrchestration(process.argv.slice(2)));
const parsed = readArguments(process.argv.slice(2));
if (parsed.t === "bad") {
  console.error(parsed.explain);
  process.exit(2);
}
const { seed, steps, seeds, members, jobs, hunt } = parsed;
if (hunt === "all") process.exitCode = await huntAll(mutants, seed, seeds, steps);
else if (hunt !== undefined) process.exitCode = await huntAll([mutantNamed(hunt)!], seed, seeds, steps);
else process.exitCode = await runSeeds(seed, seeds, steps);

/** 1 when a check failed. */
async function runSeeds(first: number, count: number, steps: number): Promise<number> {
  const started = performance.now();
  const parallel = jobs > 1 && count > 1;
  const totals = parallel
    ? await runInParallel(first, count, { steps, members, jobs })
    : await runHere(first, count, steps);
  if (totals === undefined) return 1;
  if (process.send) {
    process.send(totals);
    return 0;
  }
  const { counts, struck } = totals;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${count} seeds from ${first}, ${steps} steps each: no check failed (${seconds} s)`);
  console.log(
    `${counts.events} events in ${(counts.virtualMs / 1000).toFixed(0)} virtual seconds; ${counts.committed} entries ` +
      `committed, ${counts.acknowledged} of ${counts.writes} writes acknowledged, ${counts.reads} reads`,
  );
  for (const fault of faultNames) console.log(`${String(struck[fault] ?? 0).padStart(9)}  ${fault}`);
  return 0;
}

/** Seed after seed, in this process. Undefined when a check failed: it has been told. */
async function runHere(first: number, count: number, steps: number): Promise<Totals | undefined> {
  const totals = noTotals();
  for (let seed = first; seed < first + count; seed++) {
    const outcome = await runWorld({ seed, steps, members });
    const { events, virtualMs, committed, writes, acknowledged, reads, struck, violation } = outcome;
    const counts = { events, virtualMs, committed, writes, acknowledged, reads };
    addTotals(totals, { counts, struck: Object.fromEntries(struck) });
    if (violation === undefined) continue;
    report(outcome, steps);
    return undefined;
  }
  return totals;
}

function report({ seed, violation, trace }: Outcome, steps: number): void {
  const more = members === membersUsual ? "" : ` --members ${members}`;
  console.error(trace);
  console.error(`\nseed ${seed}: ${violation}`);
  console.error(`again: npm run sim -- --seed ${seed} --steps ${steps}${more}`);
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
