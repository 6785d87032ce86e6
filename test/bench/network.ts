import { rmSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, mustExec, repositoryRoot } from "../cluster/index.ts";
import { measureAttaching } from "./network/attaching.ts";
import { measureNames } from "./network/names.ts";
import { measureScale } from "./network/scale.ts";
import { measureSwarm } from "./network/swarm.ts";
import { measureThroughput } from "./network/throughput.ts";
import type { BenchOptions, BenchRow } from "./types.ts";

/**
 * The overlay: on two bare hosts how long attaching takes, what it carries, names, and a node of many services; on a swarm of
 * five hosts virtual IPs and how fast a change is in all kernels. About five minutes.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const runs = quick ? 2 : 10;
  const distribution = join(cacheFolder, `bench-network-${process.pid}`);
  const rows = [
    ...(await measureAttaching()),
    ...(await measureThroughput(runs)),
    ...(await measureNames(runs)),
    ...(await measureScale(runs)),
  ];
  try {
    await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts"), distribution]);
    return [...rows, ...(await measureSwarm(runs, { distribution }))];
  } finally {
    rmSync(distribution, { recursive: true, force: true });
  }
}
