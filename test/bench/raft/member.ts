import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createInterface } from "node:readline";
import * as grpc from "@grpc/grpc-js";
import {
  ContainerSpec,
  Health,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
  Node,
  Raft,
  RaftMembership,
  RaftPeer,
  Task,
  TaskSpec,
} from "@starling/api";
import { addService } from "@starling/api/rpc";
import { createLogger, newId, systemClock, systemRandom } from "@starling/base";
import { type Files, machineHost, nodeFiles, RaftNode } from "@starling/raft-node";
import { createNode, TestMachine, testCredentials } from "@starling/raft-node/testing";
import { MemoryStore } from "@starling/store";
import { runLoad } from "./latency.ts";

// One manager of the raft bench, a process of its own. Started with a JSON of MemberConfig; says "ready", then answers each
// line of standard input with one line. See `commands` below.

export interface MemberConfig {
  readonly nodeId: string;
  readonly stateDir: string;
  readonly addr: string;
  readonly remote?: string;
  /** Its state machine: a list of ids, or the store. */
  readonly machine: "list" | "store";
  /** Each synced write takes so much longer. */
  readonly syncDelayMs?: number;
  /** Files with PEMs. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

const config = JSON.parse(process.argv[2]!) as MemberConfig;
const [ca, cert, key] = [config.ca, config.cert, config.key].map((path) => readFileSync(path)) as [
  Buffer,
  Buffer,
  Buffer,
];
const say = (line: string) => process.stdout.write(`${line}\n`);
const leads = Promise.withResolvers<void>();

const store = new MemoryStore();
const files: Files = {
  ...nodeFiles,
  async openSynced(path) {
    const file = await nodeFiles.openSynced(path);
    const write = async (bytes: Uint8Array, position: number) => {
      await file.write(bytes, position);
      await systemClock.sleep(config.syncDelayMs!);
    };
    return { write, sync: () => file.sync(), close: () => file.close() };
  },
};
const credentials = () => testCredentials({ ca, key, cert });
const raft = new RaftNode({
  stateDir: config.stateDir,
  nodeId: config.nodeId,
  addr: config.addr,
  stateMachine: config.machine === "store" ? store : new TestMachine(),
  transportCredentials: credentials,
  ...(config.syncDelayMs ? { host: { ...machineHost(credentials), files } } : {}),
  clock: systemClock,
  random: systemRandom,
  log: createLogger({ level: "warn" }),
  ...(config.remote ? { join: { remote: config.remote } } : {}),
  onLeadership: (isLeader) => isLeader && leads.resolve(),
  onFatal: (error) => {
    throw error;
  },
});
const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
const by = { authorize: "roles", organization: () => "test-cluster" } as const;
addService(server, RaftPeer, raft.handlers.peer, by);
addService(server, Raft, raft.handlers.raft, by);
addService(server, RaftMembership, raft.handlers.membership, by);
const serving = HealthCheckResponse.create({ status: HealthCheckResponse_ServingStatus.SERVING });
addService(server, Health, { check: async () => serving }, by);
const identity = grpc.ServerCredentials.createSsl(ca, [{ private_key: key, cert_chain: cert }], true);
await new Promise<void>((resolve, reject) => {
  server.bindAsync(config.addr, identity, (error) => (error ? reject(error) : resolve()));
});
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
await raft.start();
store.attachProposer(raft);
const isNew = raft.status().lastIndex <= 2;
if (config.remote === undefined && isNew) await leads.promise;
say("ready");

/** No id is used twice: a store refuses it. */
const life = Date.now().toString(36);
const loads = { count: 0 };
const delays = () => `${delay.percentile(99) / 1e6} ${delay.max / 1e6}`;
const until = async (probe: () => unknown) => {
  while (!probe()) await systemClock.sleep(2);
};

async function proposals(callers: number, ms: number): Promise<string> {
  const prefix = `${life}-${loads.count++}`;
  delay.reset();
  const { rate, p50, p99 } = await runLoad(callers, ms, (caller, i) =>
    raft.propose(createNode(`${prefix}-${caller}-${i}`, 1_000), () => undefined),
  );
  return `${rate} ${p50} ${p99} ${delays()}`;
}

/** Each caller changes an object of its own, of 1 KB. */
async function writes(callers: number, ms: number): Promise<string> {
  const csr = new Uint8Array(1_000);
  const node = (caller: number) =>
    Node.create({ id: `caller-${caller}`, certificate: { ...Node.create().certificate, csr } });
  await store.update((tx) => {
    for (let i = 0; i < callers; i++) if (!tx.nodes.get(`caller-${i}`)) tx.nodes.create(node(i));
  });
  delay.reset();
  const { rate, p50, p99 } = await runLoad(callers, ms, (caller) =>
    store.update((tx) => void tx.nodes.update({ ...tx.nodes.get(`caller-${caller}`)! })),
  );
  return `${rate} ${p50} ${p99} ${delays()}`;
}

/** The first write after the end of the leader at `lost`, if this member takes its place. */
async function takeOver(lost: string): Promise<string> {
  for (;;) {
    await until(() => raft.isLeader || ![undefined, lost, config.addr].includes(raft.leaderAddress()));
    if (!raft.isLeader) return "follows";
    const accepted = await raft
      .propose(createNode(`${life}-${loads.count++}`), () => undefined)
      .then(
        () => true,
        () => false,
      );
    if (accepted) return "wrote";
  }
}

async function fill(count: number): Promise<string> {
  const spec = TaskSpec.create({ container: ContainerSpec.create({ image: "web:1", env: ["A=1", "B=2"] }) });
  const task = (i: number) =>
    Task.create({
      id: newId(),
      serviceId: `service-${i % 100}`,
      slot: i,
      nodeId: `node-${i % 1_000}`,
      spec,
      desiredState: 512,
    });
  const numbers = Array.from({ length: count }, (_, i) => i);
  await store.batch(numbers, (tx, i) => void tx.tasks.create(task(i)));
  return "filled";
}

/** Takes a snapshot, as the next entry makes it due; then the delays during that. */
async function snapshot(): Promise<string> {
  const { lastIndex } = raft.status();
  delay.reset();
  raft.configure({ snapshots: { intervalEntries: 1, keepEntries: 0 } });
  await store.update((tx) => void tx.nodes.create(Node.create({ id: newId() })));
  raft.configure({ snapshots: { intervalEntries: 1_000_000 } });
  await until(() => raft.status().firstIndex > lastIndex);
  return delays();
}

async function hasTasks(count: number): Promise<string> {
  await until(() => store.view((tx) => tx.tasks.size) === count);
  return delays();
}

const commands: Readonly<Record<string, (...args: string[]) => Promise<string> | string>> = {
  load: (callers, ms) => proposals(Number(callers), Number(ms)),
  write: (callers, ms) => writes(Number(callers), Number(ms)),
  leads: () => `${raft.isLeader}`,
  voters: async (count) => {
    await until(
      () => raft.members().filter(({ voter, reachability }) => voter && reachability === 2).length === Number(count),
    );
    return "vote";
  },
  "take-over": (lost) => takeOver(lost!),
  fill: (count) => fill(Number(count)),
  snapshot,
  reset: () => {
    delay.reset();
    return "reset";
  },
  delays,
  "has-tasks": (count) => hasTasks(Number(count)),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = line.split(" ") as [string, ...string[]];
  say(await commands[name]!(...args));
}
process.exit(0);
