import { rmSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, mustExec, type Programs, repositoryRoot, Swarm, TestCluster } from "../cluster/index.ts";
import { startRegistry } from "../images/index.ts";
import { measureEncrypted, measureMesh } from "./mesh/paths.ts";
import { measureMeshSize } from "./mesh/scale.ts";
import type { BenchOptions, BenchRow } from "./types.ts";

/** Published ports on three hosts, one of them a manager: what the way by the mesh costs, and encryption; and a node of a large mesh. */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const distribution = join(cacheFolder, `bench-mesh-${process.pid}`);
  const size = await measureMeshSize(quick ? 1 : 5);
  try {
    await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts"), distribution]);
    return [...(await measure(quick ? 2 : 10, { distribution })), ...size];
  } finally {
    rmSync(distribution, { recursive: true, force: true });
  }
}

async function measure(rounds: number, programs: Programs): Promise<readonly BenchRow[]> {
  await using cluster = await TestCluster.create({
    name: `bench-mesh-${process.pid}`,
    // e1 is no part of the swarm: what is made by hand leads through it.
    hosts: ["reg", "m1", "w1", "w2", "e1"],
  });
  const { images } = await startRegistry(cluster.host("reg"));
  const swarm = new Swarm(cluster, programs);
  await swarm.start();
  return [...(await measureMesh(swarm, images, rounds)), ...(await measureEncrypted(swarm, images, rounds))];
}
