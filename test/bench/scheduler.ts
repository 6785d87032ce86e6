import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { lean } from "../../deploy/distribution/lean.ts";
import type { CaseConfig, Run } from "./scheduler/case.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

interface Case extends Omit<CaseConfig, "runs"> {
  /** Seconds. */
  readonly target: number;
  readonly swarmkit?: number;
}

const cases: readonly Case[] = [
  { nodes: 1_000, tasks: 1_000, oneService: false, target: 0.05, swarmkit: 0.32 },
  { nodes: 1_000, tasks: 10_000, oneService: false, target: 0.5, swarmkit: 4.8 },
  { nodes: 1_000, tasks: 100_000, oneService: false, target: 5, swarmkit: 45 },
  { nodes: 1_000, tasks: 100_000, oneService: true, target: 2, swarmkit: 8.9 },
  { nodes: 1_000, tasks: 100_000, oneService: false, binpack: true, target: 5 },
  { nodes: 1_000, tasks: 100_000, oneService: true, binpack: true, target: 2 },
  { nodes: 10_000, tasks: 100_000, oneService: true, target: 2.5, swarmkit: 9.9 },
  { nodes: 100_000, tasks: 100_000, oneService: true, target: 6, swarmkit: 24 },
];

/** Nothing may hold the manager's thread for longer. */
const SLICE_TARGET_MS = 20;

/** Each case in a process of its own, with the flags and the environment that swarmd is started with. */
export async function run({ quick }: BenchOptions): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const each of cases) rows.push(...(await measure(each, quick ? 1 : 10)));
  return rows;
}

async function measure(each: Case, runs: number): Promise<BenchRow[]> {
  const program = join(import.meta.dirname, "scheduler", "case.ts");
  const config = JSON.stringify({ ...each, runs } satisfies CaseConfig & Case);
  const argv = ["--no-warnings", ...lean.flags, program, config];
  const { stdout } = await promisify(execFile)(process.execPath, argv, { env: { ...process.env, ...lean.env } });
  const measured = JSON.parse(stdout) as Run[];
  const name = `${each.nodes} nodes x ${each.tasks} tasks, ${each.oneService ? "one service" : "task by task"}${each.binpack ? ", bin-packed" : ""}`;
  const row = { bench: "scheduler", better: "lower" as const };
  const other = each.swarmkit === undefined ? {} : { other: { name: "SwarmKit", value: each.swarmkit } };
  return [
    rowOf(
      { ...row, case: name, unit: "s", target: each.target, ...other },
      measured.map(({ seconds }) => seconds),
    ),
    rowOf(
      { ...row, case: `${name}: longest slice`, unit: "ms", target: SLICE_TARGET_MS },
      measured.map(({ longestSliceMs }) => longestSliceMs),
    ),
  ];
}
