import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import * as grpc from "@grpc/grpc-js";
import {
  Health,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
  Raft,
  RaftMembership,
  RaftPeer,
} from "@starling/api";
import { addService } from "@starling/api/rpc";
import { createLogger, systemClock, systemRandom } from "@starling/base";
import { RaftNode } from "@starling/raft-node";
import { createNode, TestMachine, testCredentials } from "@starling/raft-node/testing";

// One manager of the raft bench, a process of its own. Started with a JSON of MemberConfig; says "ready", then answers
// "load CALLERS MS" with "rate PROPOSALS-PER-SECOND".

export interface MemberConfig {
  readonly nodeId: string;
  readonly stateDir: string;
  readonly addr: string;
  readonly remote?: string;
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

const raft = new RaftNode({
  stateDir: config.stateDir,
  nodeId: config.nodeId,
  addr: config.addr,
  stateMachine: new TestMachine(),
  transportCredentials: () => testCredentials({ ca, key, cert }),
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
await raft.start();
if (config.remote === undefined) await leads.promise;
say("ready");

for await (const line of createInterface({ input: process.stdin })) {
  const [, callers, ms] = line.split(" ").map(Number) as [number, number, number];
  const started = performance.now();
  let done = 0;
  const caller = async (name: number) => {
    for (let i = 0; performance.now() - started < ms; i++) {
      await raft.propose(createNode(`${name}-${i}`, 1_000), () => undefined);
      done++;
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, i) => caller(i)));
  say(`rate ${(done * 1000) / (performance.now() - started)}`);
}
process.exit(0);
