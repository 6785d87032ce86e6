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
import { measureEncrypted, measureMesh } from "./mesh/paths.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

const replicas = 10;
const listens = "grep -q ':0050 .* 0A ' /proc/net/tcp";

/**
 * Published ports and virtual IPs on three hosts, one of them a manager: what the way by the mesh costs, what encryption costs,
 * and what a rolling update of ten nginx costs clients that open a connection for each request.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const distribution = join(cacheFolder, `bench-mesh-${process.pid}`);
  try {
    await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts"), distribution]);
    return await measure(quick, { distribution });
  } finally {
    rmSync(distribution, { recursive: true, force: true });
  }
}

async function measure(quick: boolean, programs: Programs): Promise<readonly BenchRow[]> {
  await using cluster = await TestCluster.create({
    name: `bench-mesh-${process.pid}`,
    hosts: ["reg", "m1", "w1", "w2"],
  });
  const { images } = await startRegistry(cluster.host("reg"));
  const swarm = new Swarm(cluster, programs);
  await swarm.start();
  await swarm.mustCtl(["network", "create", "front"]);
  const flags = [
    "--network",
    "front",
    "-p",
    "8080:80",
    "--replicas",
    String(replicas),
    "--update-monitor",
    "100ms",
    "--drain-time",
    "20s",
  ];
  const health = ["--health-cmd", listens, "--health-interval", "300ms"];
  await swarm.mustCtl(["service", "create", "--name", "web", ...flags, ...health, images.web1.reference]);
  await swarm.mustCtl(["service", "create", "--name", "client", "--network", "front", images.tools.reference]);
  const client = await clientOf(swarm);
  const ways: Readonly<Record<string, () => Promise<Load>>> = {
    mesh: () => startLoad(cluster.host("reg"), "http://m1:8080/"),
    "virtual IP": async () => startLoad(client.host, `http://${await virtualIp(swarm)}/`, { inTask: client.pid }),
  };
  const rows: BenchRow[] = [
    ...(await measureMesh(swarm, images, quick ? 2 : 10)),
    ...(await measureEncrypted(swarm, images, quick ? 2 : 10)),
  ];
  const rounds = quick ? 1 : 10;
  for (const [way, start] of Object.entries(ways)) {
    const results: LoadResult[] = [];
    for (let round = 0; round < rounds; round++) {
      const load = await start();
      const image = round % 2 === 0 ? images.web2 : images.web1;
      await swarm.mustCtl(["service", "update", "--force", "--image", image.reference, "web"], { timeoutMs: 300_000 });
      results.push(await load.finish());
      const { errors } = results.at(-1)!;
      if (errors !== "") console.error(`mesh: update ${round + 1} under load by the ${way}: ${errors}`);
    }
    const name = { bench: "mesh", better: "lower", unit: "updates" } as const;
    const failed = results.filter(({ errors }) => errors !== "").length;
    rows.push(
      rowOf({ ...name, case: `of ${rounds} updates of ten tasks, with a failed request, by the ${way}`, target: 0 }, [
        failed,
      ]),
    );
    const rate = { bench: "mesh", better: "higher", unit: "requests/s", target: 1000 } as const;
    rows.push(
      rowOf(
        { ...rate, case: `load meanwhile, by the ${way}` },
        results.map(({ perSecond }) => perSecond),
      ),
    );
  }
  return rows;
}

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
