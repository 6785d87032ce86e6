import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { SwarmError } from "@starling/base";
import { createGroups, createLeaf, removeGroups, thaw } from "./cgroups.ts";
import { hostTool } from "./host-tool.ts";
import { identify, isAlive, type ProcessIdentity } from "./identity.ts";
import { repositoryRoot, statesFolder } from "./paths.ts";
import { gateway, type HostPlan, prefixLength } from "./plan.ts";
import { type ClusterRecord, clusterFolder, readHost, writeHost } from "./records.ts";
import { type ExecOptions, type ExecResult, exec, exitOf, ipBatch, mustExec } from "./run.ts";

/** What is needed of the cluster to run a host. */
export interface HostContext {
  readonly cluster: ClusterRecord;
  /** First process of the switch, whose network namespace holds the bridge. */
  readonly switchPid: number;
}

/** A command that runs in a host. It ends with this process. */
export interface HostProcess {
  readonly child: ChildProcess;
  /** Exit status as in `ExecResult`. */
  readonly exited: Promise<number>;
  /** SIGTERM by default. SIGKILL ends the command, but not what it has started. */
  kill(signal?: NodeJS.Signals): void;
}

export interface SpawnInHostOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** As for child_process.spawn; pipes by default. */
  readonly stdio?: "pipe" | "inherit" | "ignore";
}

/** Node 24 first in PATH, also for scripts that hosts run. */
const environment = { PATH: [join(repositoryRoot, "node_modules/.bin"), process.env["PATH"]].join(delimiter) };

/** One host of a cluster: up or down. Its state is in its record, so objects of two processes agree. */
export class Host {
  readonly plan: HostPlan;
  /** Folder on the machine that is /var/lib/swarmd in the host, and outlives power cuts. */
  readonly stateFolder: string;
  readonly #context: HostContext;
  readonly #groups: readonly string[];

  constructor(plan: HostPlan, context: HostContext) {
    this.plan = plan;
    this.#context = context;
    this.stateFolder = join(statesFolder, context.cluster.name, plan.name);
    this.#groups = context.cluster.cgroups[plan.name] ?? [];
  }

  get name(): string {
    return this.plan.name;
  }

  get address(): string {
    return this.plan.address;
  }

  /** Whether the power is on. */
  get up(): boolean {
    return this.#maybeInit() !== undefined;
  }

  /** The host's first process, by its pid on the machine; throws FailedPrecondition while the host is down. */
  get init(): ProcessIdentity {
    const init = this.#maybeInit();
    if (!init) throw new SwarmError("FailedPrecondition", `host ${this.name} is down: start it first`);
    return init;
  }

  /** cgroup folders of the host, one per hierarchy. */
  get cgroups(): readonly string[] {
    return this.#groups;
  }

  /** Default place of a daemon's output, on the machine. It outlives power cuts. */
  logFile(daemon: string): string {
    return join(clusterFolder(this.#context.cluster.name), `${this.name}.${daemon}.log`);
  }

  /** Power on: new namespaces, the old state folder, the old address. Throws FailedPrecondition if it is up. */
  async start(): Promise<void> {
    if (this.up) throw new SwarmError("FailedPrecondition", `host ${this.name} is up already`);
    const { cluster } = this.#context;
    const folder = clusterFolder(cluster.name);
    mkdirSync(this.stateFolder, { recursive: true });
    createGroups(this.#groups);
    const init = await createHost({
      name: this.name,
      log: this.logFile("init"),
      state: this.stateFolder,
      cgroups: createLeaf(this.#groups, "init"),
      binds: [
        [join(folder, "hosts"), "/etc/hosts"],
        [join(folder, "resolv.conf"), "/etc/resolv.conf"],
      ],
    });
    writeHost(cluster, this.name, { init });
    await this.#plugIn(init);
  }

  /** The power cut: its cable goes, then all its processes at once. Returns when nothing of it is left but its state folder. */
  async kill(): Promise<void> {
    const init = this.#maybeInit();
    if (init) {
      // The port is missing if an earlier kill was itself interrupted.
      await exec([...this.#onSwitch, "link", "del", this.#port]);
      await killHost(init, this.#groups);
    }
    writeHost(this.#context.cluster, this.name, {});
    await removeGroups(this.#groups);
  }

  /** Pulls the cable at the switch's end: both ends lose their carrier, addresses and routes stay. */
  async cut(): Promise<void> {
    await mustExec([...this.#onSwitch, "link", "set", this.#port, "down"]);
  }

  /** Plugs the cable back in. */
  async heal(): Promise<void> {
    await mustExec([...this.#onSwitch, "link", "set", this.#port, "up"]);
  }

  /** Runs a command to its end. A string goes to `sh -c`. */
  async exec(command: string | readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    return exec(await this.#enter(command, this.#initGroups), { ...options, env: { ...environment, ...options.env } });
  }

  /** As `exec`; returns standard output, throws Internal with the command's words when its status is not 0. */
  async mustExec(command: string | readonly string[], options: ExecOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.exec(command, options);
    if (code === 0) return stdout;
    const shown = typeof command === "string" ? command : command.join(" ");
    throw new SwarmError("Internal", `${this.name}: ${shown}: exit status ${code}: ${stderr.trim() || stdout.trim()}`);
  }

  /** Starts a command that ends with this process at the latest. */
  async spawn(command: string | readonly string[], options: SpawnInHostOptions = {}): Promise<HostProcess> {
    const [program = "", ...args] = await this.#enter(command, this.#initGroups);
    const child = spawn(program, args, {
      stdio: options.stdio ?? "pipe",
      cwd: options.cwd,
      env: { ...process.env, ...environment, ...options.env },
    });
    return { child, exited: exitOf(child), kill: (signal = "SIGTERM") => void child.kill(signal) };
  }

  /**
   * Starts a daemon that outlives this process and ends with the host. Returns its pid as seen inside the host (end it
   * with `exec(["kill", pid])`). It runs in a cgroup of its own, `name` below the host's, as a systemd unit would; output
   * is appended to `log`, by default `logFile(name)`.
   */
  async daemon(
    name: string,
    command: readonly string[],
    options: { readonly env?: Readonly<Record<string, string>>; readonly log?: string } = {},
  ): Promise<number> {
    const groups = createLeaf(this.#groups, name);
    const enter = await this.#enter(command, groups, ["--detach", options.log ?? this.logFile(name)]);
    return Number(await mustExec(enter, { env: { ...environment, ...options.env } }));
  }

  get #port(): string {
    return portOf(this.name);
  }

  get #onSwitch(): readonly string[] {
    return ["nsenter", `--net=/proc/${this.#context.switchPid}/ns/net`, "ip"];
  }

  #maybeInit(): ProcessIdentity | undefined {
    const { init } = readHost(this.#context.cluster, this.name);
    return init && isAlive(init) ? init : undefined;
  }

  async #plugIn(init: ProcessIdentity): Promise<void> {
    const { address, mac } = this.plan;
    await ipBatch(this.#context.switchPid, [
      `link add ${this.#port} type veth peer name eth0 address ${mac} netns ${init.pid}`,
      `link set ${this.#port} master br0 up`,
    ]);
    await ipBatch(init.pid, [
      "link set lo up",
      `addr add ${address}/${prefixLength} dev eth0`,
      "link set eth0 up",
      `route add default via ${gateway}`,
    ]);
  }

  /** Where commands run, beside the daemons' groups. */
  get #initGroups(): readonly string[] {
    return this.#groups.map((folder) => join(folder, "init"));
  }

  async #enter(
    command: string | readonly string[],
    groups: readonly string[],
    flags: readonly string[] = [],
  ): Promise<readonly string[]> {
    const { pid, start } = this.init;
    const words = typeof command === "string" ? ["sh", "-c", command] : command;
    return [
      await hostTool(),
      "enter",
      ...identityFlags({ pid, start }),
      ...cgroupFlags(groups),
      ...flags,
      "--",
      ...words,
    ];
  }
}

/** The switch's end of a host's cable. */
export function portOf(host: string): string {
  return `v-${host}`;
}

/** Name of the cgroup of a host (or of the switch). */
export function groupName(cluster: string, host: string): string {
  return `starling-test-${cluster}-${host}`;
}

/** Makes the namespaces of a host, or with no `state` only those of a switch; returns the process that holds them. */
export async function createHost(options: {
  readonly name: string;
  readonly log: string;
  readonly state?: string;
  readonly cgroups: readonly string[];
  readonly binds?: readonly (readonly [source: string, target: string])[];
}): Promise<ProcessIdentity> {
  const command = [await hostTool(), "create", "--name", options.name, "--log", options.log];
  if (options.state !== undefined) command.push("--state", options.state);
  for (const [source, target] of options.binds ?? []) command.push("--bind", source, target);
  const pid = Number(await mustExec([...command, ...cgroupFlags(options.cgroups)]));
  const init = identify(pid);
  if (!init)
    throw new SwarmError("Internal", `host ${options.name}: its first process ended at once, see ${options.log}`);
  return init;
}

/** Kills a host's first process and waits until all its processes are gone, frozen ones too. */
export async function killHost(init: ProcessIdentity, cgroups: readonly string[]): Promise<void> {
  const thawing = setInterval(() => thaw(cgroups), 10);
  try {
    await mustExec([await hostTool(), "kill", ...identityFlags(init)]);
  } finally {
    clearInterval(thawing);
  }
}

function identityFlags({ pid, start }: ProcessIdentity): readonly string[] {
  return ["--pid", String(pid), "--start", String(start)];
}

function cgroupFlags(folders: readonly string[]): readonly string[] {
  return folders.flatMap((folder) => ["--cgroup", folder]);
}
