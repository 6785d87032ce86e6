import { rmSync } from "node:fs";
import { join } from "node:path";
import { SwarmError } from "@starling/base";
import { cacheFolder, mustExec, type Programs, repositoryRoot, Swarm, TestCluster } from "../cluster/index.ts";
import { startRegistry } from "../images/index.ts";
import { measureEncrypted } from "./mesh/encrypted.ts";
import { measureRequests } from "./mesh/requests.ts";
import { measureMeshSize } from "./mesh/scale.ts";
import type { BenchOptions, BenchRow } from "./types.ts";

const parts = ["requests", "encrypted", "size"] as const;
type Part = (typeof parts)[number];

/**
 * Published ports on three hosts, one of them a manager: what the way by the mesh costs; what encryption does; a node of a large mesh.
 * `BENCH_PARTS` names those of `parts` that are to be measured, with commas between; by default all.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const wanted = wantedParts(process.env["BENCH_PARTS"]);
  const size = wanted.delete("size") ? await measureMeshSize(quick ? 1 : 5) : [];
  if (wanted.size === 0) return size;
  const distribution = join(cacheFolder, `bench-mesh-${process.pid}`);
  try {
    await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts"), distribution]);
    return [...(await measure(wanted, quick ? 2 : 10, { distribution })), ...size];
  } finally {
    rmSync(distribution, { recursive: true, force: true });
  }
}

/** All when nothing is said. Throws InvalidArgument for what is no part: nothing would be measured. */
function wantedParts(text = parts.join()): Set<Part> {
  const named = text.split(",").map((name) => {
    const part = parts.find((one) => one === name);
    if (part === undefined)
      throw new SwarmError("InvalidArgument", `BENCH_PARTS: "${name}" is no part: name some of ${parts.join(", ")}`);
    return part;
  });
  return new Set(named);
}

async function measure(wanted: ReadonlySet<Part>, pairs: number, programs: Programs): Promise<readonly BenchRow[]> {
  await using cluster = await TestCluster.create({
    name: `bench-mesh-${process.pid}`,
    // e1 is no part of the swarm: what is made by hand leads through it.
    hosts: ["reg", "m1", "w1", "w2", "e1"],
  });
  const { images } = await startRegistry(cluster.host("reg"));
  const swarm = new Swarm(cluster, programs);
  await swarm.start();
  return [
    ...(wanted.has("requests") ? await measureRequests(swarm, images, pairs) : []),
    ...(wanted.has("encrypted") ? await measureEncrypted(swarm, images, pairs) : []),
  ];
}
