import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, mustExec, repositoryRoot, Swarm, TestCluster, until } from "../cluster/index.ts";
import { swarmdOf } from "./cluster/usage.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

const replicas = 5_000;

/**
 * A manager's resident memory with 5,000 replicas of one service, on the built program: made (they wait for a node that
 * does not come, so that nothing else is counted), and after a restart of swarmd, which reads them from its log.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const distribution = join(cacheFolder, `bench-replicas-${process.pid}`);
  try {
    await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts"), distribution]);
    const measured: (readonly [number, number])[] = [];
    for (let count = quick ? 1 : 5; count > 0; count--) measured.push(await once(distribution));
    const row = { bench: "replicas", unit: "MB", better: "lower" as const, target: 170 };
    const name = `a manager's memory, ${replicas} replicas of one service`;
    return [
      rowOf(
        { ...row, case: name, other: { name: "SwarmKit", value: 169 } },
        measured.map(([made]) => made),
      ),
      rowOf(
        { ...row, case: `${name}, after a restart` },
        measured.map(([, restarted]) => restarted),
      ),
    ];
  } finally {
    rmSync(distribution, { recursive: true, force: true });
  }
}

async function once(distribution: string): Promise<readonly [number, number]> {
  await using cluster = await TestCluster.create({ name: `bench-replicas-${process.pid}`, hosts: ["m1"] });
  const swarm = new Swarm(cluster, { distribution });
  await swarm.start();
  const nowhere = ["--constraint", "node.labels.nowhere==yes"];
  const options = ["--detach", "--name", "web", "--replicas", String(replicas), ...nowhere];
  await swarm.mustCtl(["service", "create", ...options, "registry.example.com/web:1"]);
  const host = cluster.host("m1");
  const waiting = () =>
    until(
      `${replicas} tasks say why they wait`,
      async () => {
        const tasks = await swarm.json<readonly { readonly error: string }[]>(["task", "ls"]);
        return tasks.filter(({ error }) => error.startsWith("no suitable node")).length === replicas;
      },
      { timeoutMs: 120_000 },
    );
  await waiting();
  const made = residentMB(swarmdOf(host));
  await swarm.endNode(host);
  await swarm.startNode(host);
  await swarm.ready([host]);
  await waiting();
  return [made, residentMB(swarmdOf(host))];
}

/** Megabytes of 10^6 bytes, as SwarmKit's figure. */
function residentMB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kib) * 1024) / 1e6;
}
