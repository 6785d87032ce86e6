import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Host, type Programs, repositoryRoot, Swarm, startLoad, TestCluster, until } from "../../cluster/index.ts";
import { startRegistry } from "../../images/index.ts";
import { measurePairs } from "../mesh/pairs.ts";
import { type BenchRow, rowOf } from "../types.ts";

const loadMs = 2_000;
const changesPerRun = 6;
const port = 8081;

/** What a virtual IP costs a connection, and how fast a change is in the kernels of five hosts. */
export async function measureSwarm(runs: number, programs: Programs): Promise<readonly BenchRow[]> {
  await using cluster = await TestCluster.create({
    name: `bench-network-${process.pid}`,
    hosts: ["reg", "m1", "w1", "w2", "w3", "w4"],
  });
  const { images } = await startRegistry(cluster.host("reg"));
  const swarm = new Swarm(cluster, programs);
  await swarm.start();
  await swarm.mustCtl(["network", "create", "front"]);
  const create = (name: string, on: string, image: string, ...flags: string[]) =>
    swarm.mustCtl([
      "service",
      "create",
      "--name",
      name,
      "--network",
      "front",
      ...flags,
      ...(on ? ["--constraint", `node.hostname==${on}`] : []),
      image,
    ]);
  // Each way has a task of its own, see bench/mesh.
  for (const name of ["web", "straight"]) await create(name, "w1", images.web1.reference);
  await create("client", "w2", images.tools.reference);
  const rows = await measureVirtualIp(swarm, runs);
  await create("moving", "", images.web1.reference, "-p", `${port}:80`, "--replicas", "4", "--stop-signal", "SIGKILL");
  return [...rows, await measureChanges(swarm, runs * changesPerRun)];
}

async function measureVirtualIp(swarm: Swarm, pairs: number): Promise<readonly BenchRow[]> {
  const client = await taskOf(swarm, "client");
  await taskOf(swarm, "web");
  const server = await taskOf(swarm, "straight");
  const { endpoint } = await swarm.json<{ endpoint: { virtualIps: readonly { addr: string }[] } }>([
    "service",
    "inspect",
    "web",
  ]);
  const urls = {
    virtual: `http://${endpoint.virtualIps[0]!.addr.split("/")[0]}/`,
    straight: `http://${server.networks[0]!.addresses[0]!.split("/")[0]}/`,
  };
  const host = swarm.cluster.host("w2");
  const inTask = client.status.container.pid;
  // Who ends connections first keeps their ports for a minute: after half of the runs there would be none left, and looking for one all that is measured.
  await host.mustExec(["nsenter", `--net=/proc/${inTask}/ns/net`, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1"]);
  const rate = (way: keyof typeof urls) => async () => {
    const load = await startLoad(host, urls[way], { connections: 16, inTask });
    await new Promise((resolve) => setTimeout(resolve, loadMs));
    const { perSecond, errors } = await load.finish();
    if (errors !== "") throw new Error(`load by ${urls[way]}: ${errors}`);
    return perSecond;
  };
  const ours: number[] = [];
  const virtual = async () => {
    ours.push(await rate("virtual")());
    return ours.at(-1)!;
  };
  const { ratios, other } = await measurePairs(pairs, virtual, rate("straight"));
  const name = { bench: "network", better: "higher", unit: "connections/s" } as const;
  const straight = rowOf({ ...name, case: "straight" }, other);
  const byVirtualIp = rowOf({ ...name, case: "to a task of another host by the virtual IP" }, ours);
  const ratio = { ...name, case: "connections/s: by the virtual IP to straight", unit: "ratio", target: 0.9 };
  return [{ ...byVirtualIp, other: { name: "straight", value: straight.value } }, rowOf(ratio, ratios)];
}

interface InspectedTask {
  readonly status: { readonly container: { readonly pid: number } };
  readonly networks: readonly { readonly addresses: readonly string[] }[];
}

async function taskOf(swarm: Swarm, service: string): Promise<InspectedTask> {
  type Row = { readonly id: string; readonly currentState: string };
  const row = await until(`${service} runs`, async () =>
    (await swarm.json<readonly Row[]>(["service", "ps", service])).find(
      ({ currentState }) => currentState === "RUNNING",
    ),
  );
  return await swarm.json<InspectedTask>(["task", "inspect", row!.id]);
}

/**
 * From the transaction that lets a task begin or cease to serve, its commit included, to the last of five hosts whose kernel
 * tells of the published port's new rule. By the wall clock that all of them share: a watch may hear of a commit late.
 */
async function measureChanges(swarm: Swarm, changes: number): Promise<BenchRow> {
  const hosts = swarm.members();
  const manager = swarm.cluster.host("m1");
  const commits = await linesOf(manager, [
    join(repositoryRoot, "node_modules/.bin/node"),
    join(import.meta.dirname, "serving.ts"),
  ]);
  const kernels = await Promise.all(
    hosts.map((host) => linesOf(host, ["stdbuf", "-oL", "nft", "monitor", "elements"])),
  );
  try {
    await until("the watch has begun", async () => commits.seen.length > 0);
    const times: number[] = [];
    for (let change = 0; change < changes; change++) {
      for (const { seen } of [commits, ...kernels]) seen.length = 0;
      await swarm.mustCtl(["service", "scale", "--detach", `moving=${change % 2 === 0 ? 3 : 4}`]);
      const ruleOf = ({ seen }: Lines) =>
        seen.find(({ text }) => text.includes(`add element inet starling published { tcp . ${port} :`));
      await until("all kernels have the change", async () => commits.seen.length > 0 && kernels.every(ruleOf), {
        timeoutMs: 20_000,
        periodMs: 20,
      });
      const { at } = JSON.parse(commits.seen[0]!.text) as { at: number };
      times.push(Math.max(...kernels.map((kernel) => ruleOf(kernel)!.at)) - at);
      await until("the tasks are at rest", async () => {
        const rows = await swarm.json<readonly { desiredState: string; currentState: string }[]>([
          "service",
          "ps",
          "moving",
        ]);
        const wanted = rows.filter(({ desiredState }) => desiredState === "RUNNING");
        return (
          wanted.length === (change % 2 === 0 ? 3 : 4) && wanted.every(({ currentState }) => currentState === "RUNNING")
        );
      });
    }
    const sorted = times.toSorted((a, b) => a - b);
    const p99 = sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * 0.99) - 1)]!;
    const row = rowOf(
      {
        bench: "network",
        case: "a task's change, from its transaction to the kernels of five hosts, p99",
        unit: "ms",
        better: "lower",
        target: 200,
      },
      times,
    );
    return { ...row, value: p99 };
  } finally {
    for (const { stop } of [commits, ...kernels]) await stop();
  }
}

interface Lines {
  readonly seen: { readonly text: string; readonly at: number }[];
  stop(): Promise<void>;
}

/** What a program in a host prints, with the moment in epoch milliseconds at which it came. */
async function linesOf(host: Host, command: readonly string[]): Promise<Lines> {
  const { child, exited, kill } = await host.spawn(command);
  const seen: Lines["seen"] = [];
  createInterface({ input: child.stdout! }).on("line", (text) => {
    seen.push({ text, at: Date.now() });
  });
  child.stderr?.resume();
  return {
    seen,
    async stop() {
      kill("SIGKILL");
      await exited;
    },
  };
}
