import { rmSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, mustExec, repositoryRoot, TestCluster } from "../cluster/index.ts";
import { startRegistry } from "../images/index.ts";
import { Figures } from "./cluster/figures.ts";
import { measureJoins } from "./cluster/joins.ts";
import { measureLeaderHostLost, measureLeaderLost, measureWorkerLost } from "./cluster/losses.ts";
import { measureCommands, measureServices } from "./cluster/services.ts";
import { Stage } from "./cluster/stage.ts";
import { measureBusy, measureIdle } from "./cluster/usage.ts";
import type { BenchOptions, BenchRow } from "./types.ts";

/**
 * Docker Swarm's figures against ours: five hosts, three of them managers, with the programs that `npm run build` makes,
 * as users have them. Takes about ten minutes.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const counts = quick ? { runs: 2, failures: 1 } : { runs: 10, failures: 5 };
  const distribution = join(cacheFolder, `bench-${process.pid}`);
  try {
    await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts"), distribution]);
    await using cluster = await TestCluster.create({
      name: `bench-${process.pid}`,
      hosts: ["reg", "m1", "m2", "m3", "w1", "w2"],
    });
    const { images } = await startRegistry(cluster.host("reg"));
    const stage = new Stage({ cluster, images, programs: { distribution }, ...counts });
    const figures = new Figures();
    await measureJoins(stage, figures);
    await stage.begin();
    await measureIdle(stage, figures);
    await stage.warmUp();
    await measureBusy(stage, figures);
    await measureCommands(stage, figures);
    await measureServices(stage, figures);
    await measureWorkerLost(stage, figures);
    await measureLeaderLost(stage, figures);
    await measureLeaderHostLost(stage, figures);
    return figures.rows();
  } finally {
    rmSync(distribution, { recursive: true, force: true });
  }
}
