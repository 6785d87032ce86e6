import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Host, mustExec, repositoryRoot, Swarm, TestCluster, until } from "../cluster/index.ts";
import { type PushedImages, startRegistry } from "../images/index.ts";
import { arm, drive } from "./cluster/driver-client.ts";
import { cpuPercent, shimsMiB, swarmdMiB } from "./cluster/usage.ts";
import { type BenchRow, rowOf } from "./types.ts";

const runs = 10;
const failures = 5;
/** Sleeps, and ends at once when told to, as process 1 too. */
const idleCommand = ["sh", "-c", 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'];
const dockerSwarm = "Docker Swarm 20.10";

const now = () => performance.timeOrigin + performance.now();

/** Measured values by case, in the order in which the cases are to be printed. */
type Values = Map<string, number[]>;

/** What each case must reach, and what Docker Swarm took on a machine of this kind (anchors of the design). */
const cases: Readonly<Record<string, { readonly unit: string; readonly target: number; readonly other: number }>> = {
  init: { unit: "s", target: 0.3, other: 0.67 },
  "worker joins": { unit: "s", target: 0.15, other: 0.15 },
  "manager joins": { unit: "s", target: 0.3, other: 0.67 },
  "service create, the call": { unit: "s", target: 0.05, other: 0.05 },
  "create → 1 running": { unit: "s", target: 0.15, other: 0.61 },
  "create → 10 running": { unit: "s", target: 0.4, other: 2.06 },
  "create → 50 running": { unit: "s", target: 1.5, other: 8.14 },
  "scale 10 → 50 running": { unit: "s", target: 1.5, other: 7.3 },
  "50 → 10, containers gone": { unit: "s", target: 1, other: 3.6 },
  "rolling update of 10, one by one": { unit: "s", target: 4, other: 20.3 },
  "worker host killed: shown down": { unit: "s", target: 3, other: 14 },
  "worker host killed: its tasks running elsewhere": { unit: "s", target: 4, other: 20 },
  "leader's host killed: next write accepted": { unit: "s", target: 1.5, other: 25.6 },
  "leader's host killed: its tasks running elsewhere": { unit: "s", target: 6, other: 60.6 },
  "idle memory, manager": { unit: "MiB", target: 120, other: 222 },
  "idle memory, worker": { unit: "MiB", target: 80, other: 131 },
  "idle CPU, manager": { unit: "%", target: 1, other: 0.6 },
  "idle CPU, worker": { unit: "%", target: 0.5, other: 0.4 },
  "memory with 30 tasks, manager": { unit: "MiB", target: 130, other: 282 },
  "memory with 30 tasks, worker": { unit: "MiB", target: 90, other: 142 },
  "memory of a shim": { unit: "MiB", target: 1.5, other: 10 },
};

/**
 * Docker Swarm's figures against ours: five hosts, three of them managers, with the programs that `npm run build` makes,
 * as users have them. Takes about ten minutes.
 */
export async function run(): Promise<readonly BenchRow[]> {
  await mustExec([process.execPath, join(repositoryRoot, "deploy/build.ts")]);
  await using cluster = await TestCluster.create({
    name: `bench-${process.pid}`,
    hosts: ["reg", "m1", "m2", "m3", "w1", "w2"],
  });
  const { images } = await startRegistry(cluster.host("reg"));
  const values: Values = new Map(Object.keys(cases).map((name) => [name, []]));
  const bench = new ClusterBench(cluster, images, values);
  await bench.joins();
  await bench.startWhole();
  await bench.usageIdle();
  await bench.services();
  await bench.usageBusy();
  await bench.workerLost();
  await bench.leaderLost();
  return [...values].map(([name, measured]) => {
    const { unit, target, other } = cases[name]!;
    const row = { bench: "cluster", case: name, unit, better: "lower", target } as const;
    return rowOf({ ...row, other: { name: dockerSwarm, value: other } }, measured);
  });
}

class ClusterBench {
  readonly #cluster: TestCluster;
  readonly #images: PushedImages;
  readonly #values: Values;
  #swarm: Swarm;

  constructor(cluster: TestCluster, images: PushedImages, values: Values) {
    this.#cluster = cluster;
    this.#images = images;
    this.#values = values;
    this.#swarm = new Swarm(cluster, "distribution");
  }

  /** A swarm of one, a worker, a second manager; all over again for each run. */
  async joins(): Promise<void> {
    const [m1, m2, w1] = ["m1", "m2", "w1"].map((name) => this.#cluster.host(name)) as [Host, Host, Host];
    for (let i = 0; i < runs; i++) {
      for (const host of [m1, m2, w1]) await this.#renew(host);
      await this.#timeJoin("init", m1);
      const worker = await this.#swarm.joinToken("worker", m1);
      const manager = await this.#swarm.joinToken("manager", m1);
      await this.#timeJoin("worker joins", w1, m1, worker);
      await this.#timeJoin("manager joins", m2, m1, manager);
    }
  }

  async #timeJoin(name: string, host: Host, via?: Host, token?: string): Promise<void> {
    const role = host.name.startsWith("m") ? "manager" : "worker";
    const armed = await arm<{ readyAt: number }>(via ?? host, "join", host.name, role);
    const begin = now();
    await this.#swarm.startNode(host, via, token);
    this.#add(name, ((await armed.result).readyAt - begin) / 1000);
  }

  /** The swarm of five that the other figures are taken on, every image on every node. */
  async startWhole(): Promise<void> {
    for (const host of this.#swarm.members()) await this.#renew(host);
    this.#swarm = new Swarm(this.#cluster, "distribution");
    await this.#swarm.start();
    for (const image of [this.#images.busybox, this.#images.tools]) {
      await this.#create("warm", 10, image.reference);
      await drive(await this.#manager(), "remove", "warm");
    }
  }

  async services(): Promise<void> {
    const on = await this.#manager();
    for (let i = 0; i < runs; i++) {
      for (const replicas of [1, 10, 50]) {
        const { callMs, runningMs } = await this.#create("many", replicas);
        if (replicas === 1) this.#add("service create, the call", callMs / 1000);
        this.#add(`create → ${replicas} running`, runningMs / 1000);
        await drive(on, "remove", "many");
      }
      await this.#create("many", 10);
      this.#add("scale 10 → 50 running", (await drive<{ ms: number }>(on, "scale", "many", "50")).ms / 1000);
      this.#add("50 → 10, containers gone", (await drive<{ ms: number }>(on, "scale", "many", "10")).ms / 1000);
      const { ms } = await drive<{ ms: number }>(on, "update", "many", this.#images.tools.reference, "10");
      this.#add("rolling update of 10, one by one", ms / 1000);
      await drive(on, "remove", "many");
    }
  }

  async usageIdle(): Promise<void> {
    for (const host of this.#swarm.members()) this.#add(`idle memory, ${roleName(host)}`, swarmdMiB(host));
    await Promise.all(
      this.#swarm.members().map(async (host) => this.#add(`idle CPU, ${roleName(host)}`, await cpuPercent(host))),
    );
  }

  async usageBusy(): Promise<void> {
    await this.#create("thirty", 30);
    for (const host of this.#swarm.members()) {
      this.#add(`memory with 30 tasks, ${roleName(host)}`, swarmdMiB(host));
      for (const mib of shimsMiB(host)) this.#add("memory of a shim", mib);
    }
    await drive(await this.#manager(), "remove", "thirty");
  }

  async workerLost(): Promise<void> {
    const w1 = this.#cluster.host("w1");
    for (let i = 0; i < failures; i++) {
      const on = await this.#manager();
      await this.#create("lost", 10);
      const armed = await arm<{ downAt: number; runningAt: number }>(on, "loss", "w1", "lost", "10");
      const begin = now();
      await w1.kill();
      const { downAt, runningAt } = await armed.result;
      this.#add("worker host killed: shown down", (downAt - begin) / 1000);
      this.#add("worker host killed: its tasks running elsewhere", (runningAt - begin) / 1000);
      await this.#return(w1, "lost");
    }
  }

  async leaderLost(): Promise<void> {
    for (let i = 0; i < failures; i++) {
      const leader = await this.#manager();
      const other = this.#swarm.members().find((host) => host.name.startsWith("m") && host !== leader)!;
      await this.#create("lost", 10);
      const writer = await arm<[number, number][]>(other, "write");
      const armed = await arm<{ downAt: number; runningAt: number }>(other, "loss", leader.name, "lost", "10");
      const begin = now();
      await leader.kill();
      this.#add("leader's host killed: its tasks running elsewhere", ((await armed.result).runningAt - begin) / 1000);
      writer.stop();
      const first = (await writer.result).find(([beganAt]) => beganAt > begin)!;
      this.#add("leader's host killed: next write accepted", (first[1] - begin) / 1000);
      await this.#return(leader, "lost");
    }
  }

  /** Brings a killed host back into the swarm and clears the service away. */
  async #return(host: Host, service: string): Promise<void> {
    await this.#swarm.restart(host);
    const on = this.#swarm.members().find((member) => member.name.startsWith("m") && member !== host)!;
    await this.#swarm.ready(this.#swarm.members(), { on });
    await drive(await this.#manager(), "remove", service);
  }

  /** A host without any state of before. */
  async #renew(host: Host): Promise<void> {
    await host.kill();
    rmSync(host.stateFolder, { recursive: true, force: true });
    await host.start();
  }

  async #create(
    name: string,
    replicas: number,
    image = this.#images.busybox.reference,
  ): Promise<{ callMs: number; runningMs: number }> {
    return drive(await this.#manager(), "create", name, image, String(replicas), ...idleCommand);
  }

  /** The leader's host: figures of the leader's own work have no hop to another manager in them. */
  async #manager(): Promise<Host> {
    return until("there is a leader", () => this.#swarm.leader());
  }

  #add(name: string, value: number): void {
    this.#values.get(name)!.push(value);
  }
}

function roleName(host: Host): "manager" | "worker" {
  return host.name.startsWith("m") ? "manager" : "worker";
}
