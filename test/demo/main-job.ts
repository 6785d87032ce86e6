import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Host, type NodeRow, repositoryRoot, Swarm, type TestCluster, until } from "../cluster/index.ts";
import { type PushedImages, startRegistry } from "../images/index.ts";
import type { Report } from "./report.ts";
import { leftOver, type Traces, tracesOf } from "./traces.ts";

const published = 8080;
const node = join(repositoryRoot, "node_modules/.bin/node");

/** One row of `swarmctl service ps --format json`. */
interface TaskRow {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly node: string;
  readonly desiredState: string;
  readonly currentState: string;
  readonly error: string;
}

/** The main job on a cluster of hosts m1 m2 m3 w1 w2 and reg, step by step. Each step throws when it does not hold. */
export class MainJob {
  readonly #cluster: TestCluster;
  readonly #swarm: Swarm;
  readonly #report: Report;
  #images: PushedImages | undefined;
  #before = new Map<string, Traces>();
  /** The manager that swarmctl is run on; never one that is down. */
  #console: Host;

  constructor(cluster: TestCluster, report: Report) {
    this.#cluster = cluster;
    this.#swarm = new Swarm(cluster);
    this.#report = report;
    this.#console = cluster.host("m1");
  }

  async run(): Promise<void> {
    const step = this.#report.step.bind(this.#report);
    await step("registry with images web:1, web:2 and tools", () => this.#startRegistry());
    await step("swarm on m1; m2 m3 join as managers, w1 w2 as workers", () => this.#startSwarm());
    await step("network create; service create --replicas 3", () => this.#createService());
    await step("30 connections from each host to each host", () => this.#connect());
    await step("another service reaches web by name and virtual IP", () => this.#reachByName());
    await step("kernel rules only: no proxy, learning off", () => this.#kernelOnly());
    await step("scale to 10", () => this.#scale(10));
    await step("scale to 3", () => this.#scale(3));
    await step("update the image, one by one", () => this.#update());
    const writer = await this.#startWriter();
    await step("kill host w1: its tasks run elsewhere", () => this.#killWorker());
    await step("kill the leader's host: a new leader answers", () => this.#killLeader(writer.host));
    await step("start both again: they rejoin", () => this.#startAgain());
    await step("every acknowledged write is read back", () => this.#readBack(writer));
    await step("remove the service: nothing is left", () => this.#remove());
  }

  async #startRegistry(): Promise<string> {
    const registry = await startRegistry(this.#cluster.host("reg"));
    this.#images = registry.images;
    return `${registry.images.web1.reference} ${registry.images.web2.reference}`;
  }

  async #startSwarm(): Promise<string> {
    await this.#swarm.start();
    for (const host of this.#swarm.members()) this.#before.set(host.name, await tracesOf(host));
    return await this.#show(["node", "ls"]);
  }

  async #createService(): Promise<string> {
    await this.#show(["network", "create", "demo"]);
    await this.#show([
      ...["service", "create", "--name", "web", "--replicas", "3", "--network", "demo"],
      ...["--publish", `${published}:80`, this.#image("web1")],
    ]);
    await this.#running("web", 3);
    for (const args of [
      ["service", "ls"],
      ["service", "ps", "web"],
      ["node", "ls"],
    ]) {
      await this.#show(args);
    }
    return "";
  }

  async #connect(): Promise<string> {
    const hosts = this.#swarm.members();
    const targets = hosts.map((host) => `${host.address}:${published}`);
    const program = join(import.meta.dirname, "connect.ts");
    let total = 0;
    await Promise.all(
      hosts.map(async (host) => {
        const answers = JSON.parse(await host.mustExec([node, program, "30", ...targets])) as Record<string, string[]>;
        for (const [target, lines] of Object.entries(answers)) {
          const wrong = lines.filter((line) => !line.startsWith("host="));
          if (wrong.length > 0) throw new Error(`${host.name} → ${target}: ${wrong.length} of 30 failed: ${wrong[0]}`);
          const tasks = new Set(lines.map((line) => line.split(" ")[0]));
          if (tasks.size !== 3) throw new Error(`${host.name} → ${target}: answered by ${tasks.size} tasks, not 3`);
          total += lines.length;
        }
      }),
    );
    return `${total} connections, each host's 30 to each host answered by all three tasks`;
  }

  async #reachByName(): Promise<string> {
    const script =
      "for i in $(seq 30); do curl -s -m 3 http://web/ || echo failed; done; getent hosts web | cut -d' ' -f1; echo done";
    await this.#show([
      ...["service", "create", "--name", "probe", "--network", "demo", "--detach"],
      ...["--constraint", "node.hostname==w2", "--restart-condition", "none"],
      ...[this.#image("tools"), "sh", "-c", script],
    ]);
    let lines: string[] = [];
    await until(
      "the probe has printed all",
      async () => {
        const { stdout } = await this.#ctl(["service", "logs", "--raw", "probe"]);
        lines = stdout.split("\n").filter((line) => line !== "");
        return lines.at(-1) === "done";
      },
      { timeoutMs: 60_000 },
    );
    const answers = lines.filter((line) => line.startsWith("host="));
    const tasks = new Set(answers.map((line) => line.split(" ")[0]));
    if (answers.length !== 30 || tasks.size !== 3) {
      throw new Error(
        `probe: ${answers.length} of 30 answers, from ${tasks.size} tasks:\n${lines.slice(0, 5).join("\n")}`,
      );
    }
    const resolved = lines.at(-2);
    const { endpoint } = await this.#swarm.json<{ endpoint: { virtualIps: { addr: string }[] } }>(
      ["service", "inspect", "web"],
      { on: this.#console },
    );
    const vips = endpoint.virtualIps.map(({ addr }) => addr.split("/")[0]);
    if (!vips.includes(resolved)) throw new Error(`web resolves to ${resolved}, its virtual IPs are ${vips.join(" ")}`);
    await this.#show(["service", "rm", "probe"]);
    return `30 answers through ${resolved}, from ${tasks.size} tasks`;
  }

  async #kernelOnly(): Promise<string> {
    let forwarding = 0;
    for (const host of this.#swarm.members()) {
      const listening = await host.mustExec("ss -Hltn");
      if (listening.includes(`:${published} `)) throw new Error(`${host.name}: a process listens on port ${published}`);
      const vxlan = (await host.mustExec("ip -d -o link show type vxlan")).split("\n").filter((line) => line !== "");
      if (vxlan.length === 0) throw new Error(`${host.name}: no VXLAN device`);
      const learning = vxlan.filter((line) => !line.includes("nolearning"));
      if (learning.length > 0) throw new Error(`${host.name}: learns: ${learning[0]}`);
      for (const device of vxlan.map((line) => /^\d+: ([^:@]+)/.exec(line)?.[1] ?? "")) {
        const entries = (await host.mustExec(["bridge", "fdb", "show", "dev", device])).split("\n");
        const learned = entries.filter((line) => / dst /.test(line) && !line.includes("permanent"));
        if (learned.length > 0) throw new Error(`${host.name}: not from the managers: ${device}: ${learned[0]}`);
        forwarding += entries.filter((line) => / dst /.test(line)).length;
      }
    }
    if (forwarding === 0) throw new Error("no host has a forwarding entry");
    return `no listener on the published port; learning is off; ${forwarding} forwarding entries, all permanent`;
  }

  async #scale(replicas: number): Promise<string | undefined> {
    await this.#show(["service", "scale", `web=${replicas}`]);
    await this.#running("web", replicas);
    return undefined;
  }

  async #update(): Promise<string> {
    const before = new Set((await this.#wanted("web")).map((row) => row.id));
    await this.#show(["service", "update", "--image", this.#image("web2"), "web"]);
    await this.#running("web", 3);
    const after = await this.#wanted("web");
    const kept = after.filter((row) => before.has(row.id));
    if (kept.length > 0) throw new Error(`not replaced: ${kept.map((row) => row.name).join(" ")}`);
    const answer = await this.#console.mustExec(["curl", "-s", `http://127.0.0.1:${published}/`]);
    if (!answer.includes("version=2")) throw new Error(`after the update: ${answer}`);
    return answer.trim();
  }

  async #killWorker(): Promise<string> {
    const victim = this.#cluster.host("w1");
    await victim.kill();
    await until("w1 is shown down", async () => (await this.#node("w1"))?.status === "DOWN", { timeoutMs: 30_000 });
    await this.#runningWithout("w1");
    return await this.#show(["service", "ps", "web"]);
  }

  async #killLeader(writerHost: Host): Promise<string> {
    const leader = await this.#swarm.leader({ on: this.#console });
    if (!leader) throw new Error("no manager leads");
    this.#console = writerHost;
    await leader.kill();
    const started = performance.now();
    let now: Host | undefined;
    await until(
      "another manager leads",
      async () => {
        now = await this.#swarm.leader({ on: this.#console }).catch(() => undefined);
        return now !== undefined && now.name !== leader.name;
      },
      { timeoutMs: 30_000 },
    );
    const seconds = (performance.now() - started) / 1_000;
    await this.#runningWithout(leader.name);
    return `${leader.name} led, ${now?.name} leads after ${seconds.toFixed(2)} s`;
  }

  async #startAgain(): Promise<string> {
    const down = this.#swarm.members().filter((host) => !host.up);
    for (const host of down) await this.#swarm.restart(host);
    await this.#swarm.ready(this.#swarm.members(), { on: this.#console });
    await this.#running("web", 3);
    return await this.#show(["node", "ls"]);
  }

  /** Starts the writer on a manager that does not lead now. */
  async #startWriter(): Promise<{ host: Host; pid: number; file: string }> {
    const leader = await this.#swarm.leader({ on: this.#console });
    const host = this.#swarm
      .members()
      .find((candidate) => /^m/.test(candidate.name) && candidate.name !== leader?.name);
    if (!host) throw new Error("no manager beside the leader");
    const file = join(host.stateFolder, "written.txt");
    const program = join(import.meta.dirname, "writer.ts");
    const pid = await host.daemon("writer", [node, program, "/run/swarmd.sock", "/var/lib/swarmd/written.txt"]);
    await until("the writer writes", async () => countLines(file) > 0, { timeoutMs: 10_000 });
    return { host, pid, file };
  }

  async #readBack(writer: { host: Host; pid: number; file: string }): Promise<string> {
    await writer.host.mustExec(["kill", String(writer.pid)]);
    await until(
      "the writer has ended",
      async () => (await writer.host.exec(["kill", "-0", String(writer.pid)])).code !== 0,
    );
    const acknowledged = readFileSync(writer.file, "utf8")
      .split("\n")
      .filter((line) => line !== "");
    for (const host of this.#swarm.members().filter((member) => /^m/.test(member.name))) {
      const rows = await this.#swarm.json<readonly { name: string }[]>(["config", "ls"], { on: host });
      const there = new Set(rows.map((row) => row.name));
      const lost = acknowledged.filter((name) => !there.has(name));
      if (lost.length > 0)
        throw new Error(`${host.name}: ${lost.length} acknowledged writes are lost, e.g. ${lost[0]}`);
    }
    return `${acknowledged.length} writes, all there on every manager`;
  }

  async #remove(): Promise<string> {
    await this.#show(["service", "rm", "web"]);
    await this.#show(["network", "rm", "demo"]);
    let left: string[] = [];
    await until(
      "nothing of the service is left",
      async () => {
        left = [];
        for (const host of this.#swarm.members()) {
          const now = await tracesOf(host);
          left.push(...leftOver(this.#before.get(host.name)!, now).map((line) => `${host.name}: ${line}`));
        }
        return left.length === 0;
      },
      { timeoutMs: 30_000 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}\n${left.join("\n")}`);
    });
    return "no container, namespace, mount, device, cgroup or process is left on any host";
  }

  #image(name: keyof PushedImages): string {
    return this.#images![name].reference;
  }

  /** Runs swarmctl as a user would and shows it; throws with its words when it fails. */
  async #show(args: readonly string[]): Promise<string> {
    console.log(`$ swarmctl ${args.join(" ")}`);
    const { code, stdout, stderr } = await this.#ctl(args);
    process.stdout.write(stdout);
    if (code !== 0) throw new Error(`swarmctl ${args.join(" ")}: exit status ${code}: ${stderr.trim()}`);
    return "";
  }

  #ctl(args: readonly string[]) {
    return this.#swarm.ctl(args, { on: this.#console });
  }

  async #node(name: string): Promise<NodeRow | undefined> {
    return (await this.#swarm.nodes({ on: this.#console })).find((row) => row.hostname === name);
  }

  async #wanted(service: string): Promise<readonly TaskRow[]> {
    const rows = await this.#swarm.json<readonly TaskRow[]>(["service", "ps", service], { on: this.#console });
    return rows.filter((row) => row.desiredState === "RUNNING");
  }

  /** Resolves when exactly `replicas` tasks are wanted and all run. */
  async #running(service: string, replicas: number): Promise<void> {
    let rows: readonly TaskRow[] = [];
    await until(
      `${replicas} tasks of ${service} run`,
      async () => {
        rows = await this.#wanted(service);
        return rows.length === replicas && rows.every((row) => row.currentState === "RUNNING");
      },
      { timeoutMs: 60_000 },
    ).catch((error: Error) => {
      throw new Error(
        `${error.message}\n${rows.map((row) => `${row.name} ${row.currentState} ${row.error}`).join("\n")}`,
      );
    });
  }

  async #runningWithout(host: string): Promise<void> {
    await until(
      `3 tasks of web run, none of them on ${host}`,
      async () => {
        const rows = await this.#wanted("web").catch(() => []);
        return rows.length === 3 && rows.every((row) => row.currentState === "RUNNING" && row.node !== host);
      },
      { timeoutMs: 60_000 },
    );
  }
}

function countLines(file: string): number {
  try {
    return readFileSync(file, "utf8").split("\n").length - 1;
  } catch {
    return 0;
  }
}
