import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { lean } from "../../deploy/distribution/lean.ts";
import { periodOf } from "../../services/dispatcher/heartbeat.ts";
import { cacheFolder } from "../cluster/index.ts";
import type { AgentsConfig } from "./orchestration/agents.ts";
import type { BeatsConfig } from "./orchestration/beats.ts";
import type { ManagerConfig } from "./orchestration/manager.ts";
import type { TurnFigures } from "./orchestration/turns.ts";
import { freePorts } from "./raft/group.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

/** BENCH_TASKS, BENCH_NODES: so many instead, to see where a smaller run's time goes. */
const tasksMost = Number(process.env["BENCH_TASKS"] ?? 100_000);
const beatingMost = Number(process.env["BENCH_NODES"] ?? 10_000);
const size = { agents: 200, services: 100, replicas: Math.ceil(tasksMost / 100), beatingNodes: beatingMost };
/** To see that it works on a machine that does much else. */
const quickSize = { agents: 20, services: 10, replicas: 100, beatingNodes: 500 };
/** Swarm's default, which the cluster is told; the leader asks for a longer one of many nodes. */
const periodSeconds = 5;
/** Turns of the leader are looked at for so long while our agents beat: whole collections of its memory are rare then. */
const watchMs = 120_000;
/** What is not done by then has failed. */
const budgetMs = 540_000;

interface Figures {
  /** When they were looked at. */
  readonly turns?: TurnFigures;
  readonly cores: number;
  readonly residentMB: number;
  readonly term: number;
  readonly leads: boolean;
}

/**
 * The whole way of a task: three managers, 200 agents over gRPC and mutual TLS, 100,000 tasks from `create` until they run; then
 * the heartbeats of 10,000 nodes, as our agents send them and as Swarm's do. Managers and agents are processes of their own on the loopback.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  mkdirSync(cacheFolder, { recursive: true });
  const folder = mkdtempSync(join(cacheFolder, "bench-orchestration-"));
  const children: Child[] = [];
  try {
    const start = (program: string, config: object) => {
      const child = new Child(program, config);
      children.push(child);
      return child;
    };
    return await within(budgetMs, measure(folder, start, quick));
  } finally {
    await Promise.all(children.map((child) => child.end()));
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(
  folder: string,
  start: (program: string, config: object) => Child,
  quick: boolean,
): Promise<readonly BenchRow[]> {
  const { agents, services, replicas, beatingNodes } = quick ? quickSize : size;
  const ports = await freePorts(3);
  const configOf = (i: number): ManagerConfig => {
    const stateDir = join(folder, `manager-${i}`);
    return { stateDir, addr: `127.0.0.1:${ports[i]}`, socket: join(folder, `manager-${i}.sock`) };
  };
  const leader = start("manager", configOf(0));
  await leader.line();
  const tokens = JSON.parse(await leader.ask("tokens")) as { readonly manager: string; readonly worker: string };
  const { addr } = configOf(0);
  for (const i of [1, 2]) await start("manager", { ...configOf(i), join: { addr, token: tokens.manager } }).line();
  await leader.ask("voters 3");
  const managers = [0, 1, 2].map((i) => configOf(i).addr);
  const agentsConfig: AgentsConfig = { folder, managers, token: tokens.worker, count: agents };
  const fleet = start("agents", agentsConfig);
  await fleet.line();
  await leader.ask(`nodes-ready ${agents}`);

  const before = await leader.figures();
  const tasks = services * replicas;
  await leader.ask("reset turns");
  const seconds = Number(await leader.ask(`run ${services} ${replicas}`)) / 1000;
  const after = await leader.figures();
  const sessionsEnded = Number(await fleet.ask("sessions-ended"));

  await leader.ask(`heartbeat-period ${periodSeconds}`);
  await leader.ask(`add-nodes beat ${beatingNodes}`);
  const stateDir = join(folder, "beats");
  const beatsConfig: BeatsConfig = {
    stateDir,
    manager: addr,
    token: tokens.manager,
    prefix: "beat",
    count: beatingNodes,
    connections: 50,
  };
  const nodes = start("beats", beatsConfig);
  const during = async (ms: number, what: "cpu" | "turns") => {
    await leader.ask(`reset ${what}`);
    await leader.ask(`pause ${ms}`);
    return await leader.figures();
  };
  const beatingMs = quick ? 5_000 : 20_000;
  await nodes.ask("live");
  await leader.ask("pause 5000");
  const beating = await during(beatingMs, "cpu");
  const watched = await during(quick ? beatingMs : watchMs, "turns");
  await nodes.ask("calls");
  await leader.ask("pause 5000");
  const calling = await during(beatingMs, "cpu");
  const asCalls = await during(beatingMs, "turns");

  const period = periodOf(periodSeconds * 1000, agents + beatingNodes) / 1000;
  const beatsOf = `heartbeats of ${beatingNodes} nodes every ${period.toFixed(1)} s`;
  const callsOf = `${beatsOf}, as Swarm's agents send them`;
  const row = { bench: "orchestration", better: "lower" as const };
  const what = `${tasks} tasks on ${agents} agents`;
  return [
    rowOf({ ...row, case: `${what}: from create to running`, unit: "s", target: 120 }, [seconds]),
    rowOf({ ...row, case: `${what}: leader's memory`, unit: "MB", target: 1_073 }, [after.residentMB]),
    ...turnRows(what, after),
    rowOf({ ...row, case: `${what}: leader's CPU`, unit: "cores" }, [after.cores]),
    rowOf({ ...row, case: `${what}: changes of leader`, unit: "", target: 0 }, [changesOfLeader(before, after)]),
    rowOf({ ...row, case: `${what}: agents' sessions lost`, unit: "", target: 0 }, [sessionsEnded]),
    rowOf({ ...row, case: `${beatsOf}: leader's CPU`, unit: "cores", target: 0.33 }, [beating.cores]),
    ...turnRows(beatsOf, watched),
    rowOf({ ...row, case: `${beatsOf}: changes of leader`, unit: "", target: 0 }, [changesOfLeader(after, watched)]),
    rowOf({ ...row, case: `${callsOf}: leader's CPU`, unit: "cores", target: 0.33 }, [calling.cores]),
    ...turnRows(callsOf, asCalls),
    rowOf({ ...row, case: `${callsOf}: changes of leader`, unit: "", target: 0 }, [changesOfLeader(watched, asCalls)]),
  ];
}

const changesOfLeader = (before: Figures, after: Figures): number =>
  before.term === after.term && after.leads ? 0 : Math.max(1, after.term - before.term);

/**
 * The leader's own part: what its thread works between two turns of the event loop. The delay holds also what the machine makes it
 * wait: managers, agents and this bench share its cores.
 */
function turnRows(what: string, { turns }: Figures): readonly BenchRow[] {
  const row = { bench: "orchestration", unit: "ms", better: "lower" as const };
  if (turns === undefined) throw new Error(`${what}: no turns were looked at`);
  const { ranMs, waitedMs } = turns.slowest;
  const slowest = `${ranMs.toFixed(0)} of it run, ${waitedMs.toFixed(0)} waiting for a CPU`;
  return [
    rowOf({ ...row, case: `${what}: leader's longest turn, CPU time`, target: 50 }, [turns.longestMs]),
    rowOf({ ...row, case: `${what}: leader's turns p99, CPU time` }, [turns.p99Ms]),
    rowOf({ ...row, case: `${what}: event loop delay at most (${slowest})` }, [turns.delayMaxMs]),
    rowOf({ ...row, case: `${what}: event loop delay p99` }, [turns.delayP99Ms]),
  ];
}

/** A process of `orchestration/`: answers lines with lines. */
class Child {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #name: string;

  constructor(program: string, config: object) {
    this.#name = program;
    const file = join(import.meta.dirname, "orchestration", `${program}.ts`);
    this.#child = spawn(process.execPath, ["--no-warnings", ...lean.flags, file, JSON.stringify(config)], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...lean.env },
    });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`orchestration bench: not measured, as ${this.#name} has ended (see above)`);
    return value;
  }

  async ask(command: string): Promise<string> {
    this.#child.stdin!.write(`${command}\n`);
    return await this.line();
  }

  async figures(): Promise<Figures> {
    return JSON.parse(await this.ask("figures")) as Figures;
  }

  /** Lets it write its profile, if it has one (NODE_OPTIONS=--cpu-prof). */
  async end(): Promise<void> {
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const late = setTimeout(() => this.#child.kill("SIGKILL"), 10_000);
    this.#child.stdin!.end();
    await exited;
    clearTimeout(late);
  }
}

/** Rejects when `work` takes longer: what has begun is ended by the caller. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`orchestration bench: not done within ${ms / 1000} s`)), ms);
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
