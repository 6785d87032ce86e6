import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SwarmError } from "@starling/base";
import type { TestCluster } from "./cluster.ts";
import type { Host } from "./host.ts";
import { repositoryRoot } from "./paths.ts";
import type { ExecOptions, ExecResult } from "./run.ts";
import { until } from "./until.ts";

const node = join(repositoryRoot, "node_modules/.bin/node");

/** The working tree as it is, or what deploy/build.ts made of it in a folder: starts faster and takes less memory. */
export type Programs = "sources" | { readonly distribution: string };

function commandOf(program: "swarmd" | "swarmctl", programs: Programs): readonly string[] {
  if (programs !== "sources") return [join(programs.distribution, "bin", program)];
  return [node, join(repositoryRoot, "services", program, "main.ts")];
}

const ports = { remoteApi: 4242, metrics: 9090 };
const controlSocket = "/run/swarmd.sock";

/** One row of `swarmctl node ls --format json`. */
export interface NodeRow {
  readonly id: string;
  readonly hostname: string;
  readonly status: string;
  readonly availability: string;
  readonly managerStatus: { readonly leader: boolean; readonly reachability: string; readonly addr: string } | null;
}

export type Role = "manager" | "worker";

/** Which hosts are swarm nodes, and as what: `m…` managers, `w…` workers. */
export function roleOf(host: Host): Role | undefined {
  if (/^m\d$/.test(host.name)) return "manager";
  return /^w\d$/.test(host.name) ? "worker" : undefined;
}

/** swarmd on the hosts of a cluster. Any process may make one for a running cluster. */
export class Swarm {
  readonly cluster: TestCluster;
  /** swarmd's pid inside each host where this object started it. */
  readonly #daemons = new Map<string, number>();

  readonly #programs: Programs;

  constructor(cluster: TestCluster, programs: Programs = "sources") {
    this.cluster = cluster;
    this.#programs = programs;
  }

  /** Hosts that are swarm nodes, managers first. */
  members(): readonly Host[] {
    const hosts = this.cluster.hosts();
    return [...hosts.filter((h) => roleOf(h) === "manager"), ...hosts.filter((h) => roleOf(h) === "worker")];
  }

  /**
   * Starts a swarm on the first manager's host and joins all others to it. Resolves when every node is ready and every
   * manager is reachable; throws DeadlineExceeded with the end of the log of a swarmd that did not get there.
   */
  async start(): Promise<void> {
    const [first, ...others] = this.members();
    if (!first || roleOf(first) !== "manager") {
      throw new SwarmError("InvalidArgument", `cluster ${this.cluster.name} has no manager host: name one m1`);
    }
    await this.startNode(first);
    await this.ready([first]);
    for (const host of others) await this.startNode(host, first);
    await this.ready([first, ...others]);
  }

  /**
   * Starts swarmd: a host that has been a node goes on as that node, a new one joins `via`, or else begins a swarm. The
   * token for joining is asked of `via` unless given. `flags` come last. Returns swarmd's pid inside the host.
   */
  async startNode(host: Host, via?: Host, token?: string, flags: readonly string[] = []): Promise<number> {
    const isNode = existsSync(join(host.stateFolder, "certificates/swarm-node.crt"));
    const join_: string[] = [];
    if (via && !isNode) {
      join_.push("--join-addr", `${via.address}:${ports.remoteApi}`);
      join_.push("--join-token", token ?? (await this.joinToken(roleOf(host) ?? "worker", via)));
    }
    const remoteApi = `${host.address}:${ports.remoteApi}`;
    const pid = await host.daemon("swarmd", [
      ...commandOf("swarmd", this.#programs),
      ...["--state-dir", "/var/lib/swarmd"],
      ...["--hostname", host.name],
      ...["--listen-remote-api", remoteApi],
      ...["--advertise-remote-api", remoteApi],
      ...["--listen-control-api", controlSocket],
      ...["--listen-metrics", `${host.address}:${ports.metrics}`],
      ...["--insecure-registry", "10.99.0.0/24"],
      ...join_,
      ...flags,
    ]);
    this.#daemons.set(host.name, pid);
    return pid;
  }

  /**
   * Ends swarmd alone, as a crash does (or "TERM": as an operator does); containers and the host stay. Resolves when its
   * process is gone. Throws FailedPrecondition when this object has not started it.
   */
  async endNode(host: Host, signal: "KILL" | "TERM" = "KILL"): Promise<void> {
    const pid = this.#daemons.get(host.name);
    if (pid === undefined) throw new SwarmError("FailedPrecondition", `swarmd on ${host.name}: not started from here`);
    this.#daemons.delete(host.name);
    await host.exec(["kill", `-${signal}`, String(pid)]);
    await until(
      `swarmd on ${host.name} has ended`,
      async () => (await host.exec(["test", "-e", `/proc/${pid}`])).code !== 0,
    );
  }

  /** Power on, and swarmd as before the cut. */
  async restart(host: Host): Promise<void> {
    await host.start();
    if (roleOf(host)) await this.startNode(host);
  }

  /** Token for new nodes, asked of `manager`. */
  async joinToken(role: Role, manager: Host): Promise<string> {
    return (await this.mustCtl(["cluster", "join-token", role, "-q"], { on: manager })).trim();
  }

  /** Runs swarmctl on a manager: `on`, by default the first whose host is up. */
  async ctl(args: readonly string[], options: ExecOptions & { readonly on?: Host } = {}): Promise<ExecResult> {
    const { on = this.#someManager(), ...execOptions } = options;
    return on.exec([...commandOf("swarmctl", this.#programs), "--socket", controlSocket, ...args], execOptions);
  }

  /** As `ctl`; returns what it prints, throws Internal with its error line when its exit status is not 0. */
  async mustCtl(args: readonly string[], options: ExecOptions & { readonly on?: Host } = {}): Promise<string> {
    const { code, stdout, stderr } = await this.ctl(args, options);
    if (code === 0) return stdout;
    throw new SwarmError("Internal", `swarmctl ${args.join(" ")}: exit status ${code}: ${stderr.trim()}`);
  }

  /** The document that a verb prints with `--format json`. */
  async json<T>(args: readonly string[], options: { readonly on?: Host } = {}): Promise<T> {
    return JSON.parse(await this.mustCtl([...args, "--format", "json"], options)) as T;
  }

  async nodes(options: { readonly on?: Host } = {}): Promise<readonly NodeRow[]> {
    return this.json<readonly NodeRow[]>(["node", "ls"], options);
  }

  /** The leader's host; undefined while no manager knows one. */
  async leader(options: { readonly on?: Host } = {}): Promise<Host | undefined> {
    const row = (await this.nodes(options)).find((n) => n.managerStatus?.leader);
    return row && this.cluster.host(row.hostname);
  }

  /**
   * Resolves when all these hosts' nodes are ready, and managers among them reachable, as `on` (by default the first up
   * manager) sees it. Throws DeadlineExceeded after `timeoutMs`, or Aborted at once when a swarmd started by this object
   * has ended; either with the end of the logs of those that are not ready.
   */
  async ready(
    hosts: readonly Host[],
    options: { readonly timeoutMs?: number; readonly on?: Host } = {},
  ): Promise<void> {
    const { timeoutMs = 60_000, on } = options;
    let missing: readonly Host[] = hosts;
    const logs = () => missing.map((host) => `\n--- ${host.name}\n${tail(host.logFile("swarmd"))}`).join("");
    const outcome = await until(
      `nodes ${hosts.map((h) => h.name).join(" ")} are ready`,
      async () => {
        const ended = await this.#ended(missing);
        if (ended) return { ended };
        const rows = await this.nodes(on ? { on } : {});
        missing = hosts.filter((host) => !rows.some((row) => row.hostname === host.name && isReady(row, roleOf(host))));
        return missing.length === 0 && {};
      },
      { timeoutMs, periodMs: 50 },
    ).catch((error: unknown) => {
      throw new SwarmError("DeadlineExceeded", `${SwarmError.from(error).message}${logs()}`, { cause: error });
    });
    if (outcome.ended) throw new SwarmError("Aborted", `swarmd on ${outcome.ended.name} has ended${logs()}`);
  }

  /** The first of the hosts whose swarmd is known to have ended. */
  async #ended(hosts: readonly Host[]): Promise<Host | undefined> {
    for (const host of hosts) {
      const pid = this.#daemons.get(host.name);
      if (pid !== undefined && host.up && (await host.exec(["test", "-e", `/proc/${pid}`])).code !== 0) return host;
    }
    return undefined;
  }

  #someManager(): Host {
    const manager = this.members().find((host) => roleOf(host) === "manager" && host.up);
    if (!manager) throw new SwarmError("Unavailable", `no manager host of cluster ${this.cluster.name} is up`);
    return manager;
  }
}

function isReady(row: NodeRow, role: Role | undefined): boolean {
  if (row.status !== "READY") return false;
  return role !== "manager" || row.managerStatus?.reachability === "REACHABLE";
}

/** The last lines of a log, for an error message. */
function tail(file: string): string {
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(-25).join("\n") : "(no log)";
}
