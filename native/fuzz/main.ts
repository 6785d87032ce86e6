/**
 * Fuzzing of native/: libFuzzer on everything that reads bytes which somebody else wrote.
 *
 *     node native/fuzz/main.ts                               every target, 20 s each, two at a time, as part of `npm test`
 *     node native/fuzz/main.ts TARGET… [--seconds N] [--seed S]   a longer search
 *     node native/fuzz/main.ts TARGET --input FILE           what one input does
 *     node native/fuzz/main.ts TARGET… --lines               lines of the sources that the inputs so far reach
 *
 * The seed is 1 unless given. Ends with `N passed, N failed`, a target each.
 */
import { parseArgs } from "node:util";
import { buildTargets, targetNames } from "./build.ts";
import { printLines } from "./lines.ts";
import { type Outcome, replay, search, seedFiles } from "./run.ts";

/** At a time. */
const jobs = 2;
const all = targetNames();
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "20" },
    seed: { type: "string", default: "1" },
    input: { type: "string" },
    lines: { type: "boolean", default: false },
  },
});

function positive(name: "seconds" | "seed"): number {
  const number = Number(values[name]);
  if (!Number.isSafeInteger(number) || number < 1) fail(`--${name} ${values[name]}: must be a whole number above 0`);
  return number;
}

function fail(problem: string): never {
  console.error(`fuzz: ${problem}`);
  process.exit(2);
}

const unknown = positionals.filter((name) => !all.includes(name));
if (unknown.length > 0) fail(`no target ${unknown.join(", ")}: there are ${all.join(", ")}`);
const names = positionals.length > 0 ? positionals : all;
const seconds = positive("seconds");
const seed = positive("seed");

async function searchAll(): Promise<number> {
  const programs = await buildTargets(names);
  console.log(`fuzz: ${names.length} targets, ${seconds} s each, seed ${seed}`);
  const queue = names.map((name, i) => ({ name, program: programs[i]!, seconds, seed }));
  let failed = 0;
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const outcome = await search(next);
      if (outcome.t === "failed") failed++;
      console.log(describe(next.name, outcome));
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  console.log(`${names.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

function describe(name: string, outcome: Outcome): string {
  switch (outcome.t) {
    case "clean": {
      const { edges, features, corpus, executions } = outcome.coverage;
      return `${name.padEnd(9)} ${edges} edges, ${features} features, ${corpus} inputs, ${executions} runs`;
    }
    case "failed": {
      const again = `npm run fuzz -- ${name} --input ${outcome.input}`;
      return `${name}: FAILED\n${outcome.report}\n${outcome.input === undefined ? "no input was kept" : `again: ${again}`}`;
    }
  }
}

async function replayOne(input: string): Promise<number> {
  const [name, ...others] = names;
  if (name === undefined || others.length > 0) fail("--input: name the one target that it is for");
  const [program] = await buildTargets([name]);
  const { code, output } = await replay(program!, input);
  console.log(output);
  return code;
}

const missing = names.filter((name) => seedFiles(name).length === 0);
if (missing.length > 0) fail(`no seeds for ${missing.join(", ")}: native/fuzz/corpus/TARGET/`);
if (values.input !== undefined) process.exitCode = await replayOne(values.input);
else if (values.lines) process.exitCode = await printLines(names);
else process.exitCode = await searchAll();
