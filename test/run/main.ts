import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { add, type Count, countOfLines, countOfVitest, emptyCount, failuresOfVitest } from "./count.ts";
import { measurePace } from "./pace.ts";

const root = join(import.meta.dirname, "../..");
const scratch = mkdtempSync(join(tmpdir(), "starling-run-"));

/** A part of the run: a program whose outcome is counted. */
interface Suite {
  readonly name: string;
  readonly command: readonly string[];
  /** On a common machine. Longer is a failure of its own: the program is killed. */
  readonly budgetSeconds: number;
  readonly count: "exit-status" | "closing-line" | "vitest";
  /** The suite exists only where this file does. */
  readonly needs?: string;
}

const suites: readonly Suite[] = [
  { name: "lint", command: ["biome", "check", "--reporter=summary"], budgetSeconds: 60, count: "exit-status" },
  { name: "types", command: ["tsc", "--noEmit"], budgetSeconds: 120, count: "exit-status" },
  {
    name: "unit",
    command: ["vitest", "run", "--project", "unit"],
    budgetSeconds: 900,
    count: "vitest",
  },
  {
    name: "native",
    command: ["node", "native/test.ts"],
    budgetSeconds: 600,
    count: "closing-line",
    needs: "native/test.ts",
  },
  {
    name: "fuzz",
    command: ["node", "native/fuzz/main.ts"],
    budgetSeconds: 600,
    count: "closing-line",
    needs: "native/fuzz/main.ts",
  },
  { name: "hosts", command: ["vitest", "run", "--project", "hosts"], budgetSeconds: 2_400, count: "vitest" },
];

interface Outcome {
  readonly suite: Suite;
  readonly count: Count;
  /** What failed, as far as the suite's report tells. */
  readonly failures: readonly string[];
  readonly seconds: number;
}

/** How many times longer than on a common machine everything may take here. */
const pace = Number(process.env["STARLING_PACE"] ?? measurePace());

/** Characters of one failure's text that are repeated at the end. */
const failureLength = 2_000;

async function runSuite(suite: Suite): Promise<Outcome> {
  console.log(`\n=== ${suite.name}: ${suite.command.join(" ")}`);
  const report = join(scratch, `${suite.name}.json`);
  const extra = suite.count === "vitest" ? ["--reporter=default", "--reporter=json", `--outputFile=${report}`] : [];
  const [program = "", ...args] = suite.command;
  const started = performance.now();
  const { status, output } = await run(program, [...args, ...extra], suite.budgetSeconds * pace);
  const seconds = (performance.now() - started) / 1000;
  const { count, failures } = counted(suite, report, output, status);
  return { suite, count: withStatus(count, status), failures, seconds };
}

function counted(suite: Suite, report: string, output: string, status: number): Pick<Outcome, "count" | "failures"> {
  switch (suite.count) {
    case "exit-status":
      return { count: { ...emptyCount, passed: status === 0 ? 1 : 0 }, failures: [] };
    case "closing-line":
      return { count: countOfLines(output), failures: [] };
    case "vitest": {
      if (!existsSync(report)) return { count: emptyCount, failures: [] };
      const results = JSON.parse(readFileSync(report, "utf8"));
      return { count: countOfVitest(results), failures: failuresOfVitest(results) };
    }
  }
}

/** A program that failed without a failed test (it crashed, or an error had no owner) is one failure. */
function withStatus(count: Count, status: number): Count {
  return status !== 0 && count.failed === 0 ? { ...count, failed: 1 } : count;
}

/** Passes the output on as it comes and keeps its end. */
function run(
  program: string,
  args: readonly string[],
  budgetSeconds: number,
): Promise<{ status: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, STARLING_PACE: String(pace) },
    });
    let output = "";
    let status: number | undefined;
    const timer = setTimeout(() => {
      console.log(`over its budget of ${budgetSeconds} s: killed`);
      child.kill("SIGKILL");
    }, budgetSeconds * 1000);
    child.stdout.on("data", (data: Buffer) => {
      process.stdout.write(data);
      output = (output + data.toString("utf8")).slice(-65_536);
    });
    child.on("error", (error) => {
      console.log(error.message);
      status = 127;
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ status: status ?? code ?? 1, output });
    });
  });
}

const only = process.argv.slice(2);
const unknown = only.filter((name) => !suites.some((suite) => suite.name === name));
if (unknown.length > 0) {
  console.error(`no suite ${unknown.join(", ")}: there are ${suites.map((suite) => suite.name).join(", ")}`);
  process.exit(2);
}

console.log(`pace: ${pace} times as long as on a common machine`);
const outcomes: Outcome[] = [];
for (const suite of suites) {
  if (only.length > 0 && !only.includes(suite.name)) continue;
  if (suite.needs === undefined || existsSync(join(root, suite.needs))) outcomes.push(await runSuite(suite));
}
rmSync(scratch, { recursive: true });

for (const failure of outcomes.flatMap((outcome) => outcome.failures))
  console.log(`\nFAILED ${failure.slice(0, failureLength)}`);
console.log("\nsuite      passed  failed  skipped   seconds  of budget");
for (const { suite, count, seconds } of outcomes) {
  const cells = [count.passed, count.failed, count.skipped].map((n) => String(n).padStart(7));
  console.log(
    `${suite.name.padEnd(9)} ${cells.join(" ")}  ${seconds.toFixed(1).padStart(9)}  ${suite.budgetSeconds * pace}`,
  );
}
const total = outcomes.map((outcome) => outcome.count).reduce(add, emptyCount);
// Missing tools or data skip tests on a developer's machine; under CI everything has to be there.
const skippedCounts = process.env["CI"] === "true";
if (skippedCounts && total.skipped > 0) console.log(`CI: ${total.skipped} skipped tests count as failure`);
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 || total.passed === 0 || (skippedCounts && total.skipped > 0) ? 1 : 0;
