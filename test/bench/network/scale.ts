import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { type BenchRow, rowOf } from "../types.ts";

/** What many-services.ts prints. */
export interface ScaleFigures {
  readonly memoryMiB: number;
  readonly changesMs: readonly number[];
  readonly attachesMs: readonly number[];
}

/** A node with a task on a network of 1,000 services with five tasks each, in processes of their own. */
export async function measureScale(runs: number): Promise<readonly BenchRow[]> {
  const figures: ScaleFigures[] = [];
  for (let run = 0; run < Math.max(2, runs / 2); run++) {
    const script = join(import.meta.dirname, "many-services.ts");
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", script], { timeout: 120_000 });
    figures.push(JSON.parse(stdout) as ScaleFigures);
  }
  const name = { bench: "network", better: "lower" } as const;
  const memory = figures.map(({ memoryMiB }) => memoryMiB);
  const changes = figures.flatMap(({ changesMs }) => changesMs);
  const attaches = figures.flatMap(({ attachesMs }) => attachesMs);
  const many = "1,000 services of five tasks on a node";
  return [
    rowOf({ ...name, case: `${many}: memory more`, unit: "MiB", target: 50 }, memory),
    rowOf({ ...name, case: `${many}: one change`, unit: "ms", target: 5 }, changes),
    rowOf({ ...name, case: `${many}: attaching a further container`, unit: "ms" }, attaches),
  ];
}
