import { rmSync } from "node:fs";
import { join } from "node:path";
import {
  cacheFolder,
  type Host,
  type Load,
  type LoadResult,
  mustExec,
  type Programs,
  repositoryRoot,
  Swarm,
  startLoad,
  TestCluster,
  until,
} from "../cluster/index.ts";
import { startRegistry } from "../images/index.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

const replicas = 10;
const listens = "grep -q ':0050 .* 0A ' /proc/net/tcp";

/**
 * Rolling updates of ten nginx (stop signal SIGQUIT) on three hosts, while `wrk -t2 -c64` opens a connection for each request: by
 * the mesh, and by the virtual IP from a task. No socket error and no answer but 2xx is allowed in any of ten runs each.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const distribution = join(cacheFolder, `bench-updates-${process.pid}`);
  try {
    await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts"), distribution]);
    return await measure(quick ? 1 : 10, { distribution });
  } finally {
    rmSync(distribution, { recursive: true, force: true });
  }
}

async function measure(rounds: number, programs: Programs): Promise<readonly BenchRow[]> {
  await using cluster = await TestCluster.create({
    name: `bench-updates-${process.pid}`,
    hosts: ["reg", "m1", "w1", "w2"],
  });
  const { images } = await startRegistry(cluster.host("reg"));
  const swarm = new Swarm(cluster, programs);
  await swarm.start();
  await swarm.mustCtl(["network", "create", "front"]);
  const flags = ["--network", "front", "-p", "8080:80", "--replicas", String(replicas)];
  const pace = ["--update-monitor", "100ms", "--drain-time", "20s"];
  const health = ["--health-cmd", listens, "--health-interval", "300ms"];
  await swarm.mustCtl(["service", "create", "--name", "web", ...flags, ...pace, ...health, images.web1.reference]);
  await swarm.mustCtl(["service", "create", "--name", "client", "--network", "front", images.tools.reference]);
  const client = await clientOf(swarm);
  const ways: Readonly<Record<string, () => Promise<Load>>> = {
    mesh: () => startLoad(cluster.host("reg"), "http://m1:8080/"),
    "virtual IP": async () => startLoad(client.host, `http://${await virtualIp(swarm)}/`, { inTask: client.pid }),
  };
  const rows: BenchRow[] = [];
  for (const [way, start] of Object.entries(ways)) {
    const results: LoadResult[] = [];
    for (let round = 0; round < rounds; round++) {
      const load = await start();
      const image = round % 2 === 0 ? images.web2 : images.web1;
      await swarm.mustCtl(["service", "update", "--force", "--image", image.reference, "web"], { timeoutMs: 300_000 });
      results.push(await load.finish());
    }
    rows.push(...rowsOf(way, results));
  }
  return rows;
}

function rowsOf(way: string, results: readonly LoadResult[]): readonly BenchRow[] {
  const row = (
    what: string,
    rest: Pick<BenchRow, "unit" | "better"> & { target?: number },
    values: readonly number[],
  ) => rowOf({ bench: "updates", case: `ten tasks replaced, by the ${way}: ${what}`, ...rest }, values);
  return [
    row(
      "requests",
      { unit: "requests/s", better: "higher", target: 1_000 },
      results.map((r) => r.perSecond),
    ),
    // The sum, since the median of ten would hide a few.
    row("socket errors, all runs", { unit: "errors", better: "lower", target: 0 }, [sum(results, "socketErrors")]),
    row("answers not 2xx, all runs", { unit: "answers", better: "lower", target: 0 }, [sum(results, "refused")]),
  ];
}

const sum = (results: readonly LoadResult[], of: "socketErrors" | "refused"): number =>
  results.reduce((total, result) => total + result[of], 0);

async function clientOf(swarm: Swarm): Promise<{ readonly host: Host; readonly pid: number }> {
  type Row = { readonly id: string; readonly node: string; readonly currentState: string };
  const row = await until("the client runs", async () =>
    (await swarm.json<readonly Row[]>(["service", "ps", "client"])).find(
      ({ currentState }) => currentState === "RUNNING",
    ),
  );
  const task = await swarm.json<{ status: { container: { pid: number } } }>(["task", "inspect", row!.id]);
  return { host: swarm.cluster.host(row!.node), pid: task.status.container.pid };
}

async function virtualIp(swarm: Swarm): Promise<string> {
  const { id } = await swarm.json<{ id: string }>(["network", "inspect", "front"]);
  type Service = { readonly endpoint: { readonly virtualIps: readonly { networkId: string; addr: string }[] } };
  const { endpoint } = await swarm.json<Service>(["service", "inspect", "web"]);
  return endpoint.virtualIps.find(({ networkId }) => networkId === id)!.addr.split("/")[0]!;
}
