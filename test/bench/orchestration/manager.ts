import { createInterface } from "node:readline";
import {
  Annotations,
  ContainerSpec,
  Node,
  NodeStatus_State,
  ReplicatedService,
  Service,
  ServiceSpec,
  TaskSpec,
  TaskState,
} from "@starling/api";
import { createLogger, newId, SwarmError, systemClock, systemRandom } from "@starling/base";
import { bootstrapIdentity, joinCluster } from "@starling/ca";
import { Manager } from "@starling/manager";
import { keepOldGenerationTight } from "../../../services/swarmd/heap-growth.ts";
import { fail, failOnErrors } from "./fail.ts";
import { TurnWatch } from "./turns.ts";

// One manager of the orchestration bench, a process of its own: production's Manager on the loopback. Started with a JSON of
// ManagerConfig; says "ready", then answers each line of standard input with one line. See `commands` below.

export interface ManagerConfig {
  readonly stateDir: string;
  readonly addr: string;
  readonly socket: string;
  /** A manager to join, and the token for that. */
  readonly join?: { readonly addr: string; readonly token: string };
}

// It ends with who started it.
process.stdin.on("end", () => process.exit(0));
const config = JSON.parse(process.argv[2]!) as ManagerConfig;
const who = `manager ${config.addr}`;
failOnErrors(who);
const log = createLogger({ level: "error" });
const say = (line: string) => process.stdout.write(`${line}\n`);
const { stateDir, join } = config;
const identity = join
  ? await joinCluster({ addresses: [join.addr], token: join.token, stateDir, clock: systemClock, log })
  : await bootstrapIdentity(stateDir, systemClock);
const manager = await Manager.start({
  identity,
  stateDir,
  listenRemoteApi: config.addr,
  advertiseRemoteApi: config.addr,
  listenControlApi: config.socket,
  ...(join ? { join: join.addr } : {}),
  clock: systemClock,
  random: systemRandom,
  log,
  onRemoved: () => fail(who, "removed"),
  onFatal: (error) => fail(who, error),
});
// As swarmd does.
keepOldGenerationTight();
const { store } = manager;
const turns = new TurnWatch();
let cpuBefore = process.cpuUsage();
let since = performance.now();

const until = async (probe: () => boolean) => {
  while (!probe()) await systemClock.sleep(10);
};

/** Figures from here on are of what comes now: of turns too, or of CPU time alone, which looking at turns would add to. */
function reset(what = "cpu"): string {
  if (what === "turns") turns.start();
  else turns.stop();
  cpuBefore = process.cpuUsage();
  since = performance.now();
  return "reset";
}

/** What this manager was at since `reset`. */
function figures(): string {
  const { user, system } = process.cpuUsage(cpuBefore);
  return JSON.stringify({
    turns: turns.figures(),
    cores: (user + system) / 1000 / (performance.now() - since),
    residentMB: process.memoryUsage.rss() / 1e6,
    term: Number(manager.raft.status().term),
    leads: manager.leading,
  });
}

/** Milliseconds from the first service's creation until all tasks run. */
async function run(services: number, replicas: number): Promise<string> {
  const started = performance.now();
  const spec = (name: string) =>
    ServiceSpec.create({
      annotations: Annotations.create({ name }),
      task: TaskSpec.create({ container: ContainerSpec.create({ image: "web:1" }) }),
      replicated: ReplicatedService.create({ replicas }),
    });
  const all = running(services * replicas);
  for (let i = 0; i < services; i++) {
    await store.update(
      (tx) => void tx.services.create(Service.create({ id: newId(), spec: spec(`s${i}`), specVersion: { index: 0 } })),
    );
  }
  await all;
  return String(performance.now() - started);
}

/** Resolves when so many tasks run that did not yet. By events alone: to look at all tasks at once is a long turn of its own. */
async function running(count: number): Promise<void> {
  const { RUNNING } = TaskState;
  const stop = new AbortController();
  const { events } = store.viewAndWatch(() => undefined, { kinds: ["task"], signal: stop.signal });
  let found = 0;
  for await (const batch of events.batches()) {
    for (const { object, old } of batch) if (object.status.state === RUNNING && old?.status.state !== RUNNING) found++;
    if (found >= count) break;
  }
  stop.abort();
}

async function nodesReady(count: number): Promise<string> {
  const { READY } = NodeStatus_State;
  await until(() => store.view((tx) => tx.nodes.find().filter(({ status }) => status.state === READY).length >= count));
  return "ready";
}

/** Nodes without a host, as if they had joined: agents of the heartbeat part answer for them. */
async function addNodes(prefix: string, count: number): Promise<string> {
  await store.batch(
    Array.from({ length: count }).keys(),
    (tx, i) => void tx.nodes.create(Node.create({ id: `${prefix}${i}` })),
  );
  return "added";
}

/** The pause between heartbeats that the cluster asks of its nodes. */
async function setHeartbeatPeriod(seconds: number): Promise<string> {
  await store.update((tx) => {
    const cluster = tx.clusters.find()[0]!;
    const dispatcher = { ...cluster.spec.dispatcher, heartbeatPeriod: { seconds, nanos: 0 } };
    tx.clusters.update({ ...cluster, spec: { ...cluster.spec, dispatcher } });
  });
  return "set";
}

const commands: Readonly<Record<string, (...args: string[]) => Promise<string> | string>> = {
  tokens: async () => {
    const clusters = () => store.view((tx) => tx.clusters.find());
    await until(() => clusters().length > 0);
    return JSON.stringify(clusters()[0]!.rootCa.joinTokens);
  },
  voters: async (count) => {
    await until(
      () =>
        manager.raft.members().filter(({ voter, reachability }) => voter && reachability === 2).length ===
        Number(count),
    );
    return "vote";
  },
  run: (services, replicas) => run(Number(services), Number(replicas)),
  "nodes-ready": (count) => nodesReady(Number(count)),
  "add-nodes": (prefix, count) => addNodes(prefix!, Number(count)),
  "heartbeat-period": (seconds) => setHeartbeatPeriod(Number(seconds)),
  pause: async (ms) => {
    await systemClock.sleep(Number(ms));
    return "paused";
  },
  reset,
  figures,
};

await until(() => config.join !== undefined || manager.leading);
say("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = line.split(" ") as [string, ...string[]];
  try {
    say(await commands[name]!(...args));
  } catch (thrown) {
    const { message } = SwarmError.from(thrown);
    fail(who, `cannot ${name}${manager.leading ? "" : ", as it leads no more"}: ${message}`);
  }
}
process.exit(0);
