import { createInterface } from "node:readline";
import { Metadata } from "@grpc/grpc-js";
import { NodeDescription } from "@starling/api";
import { addForwarded, RpcClient } from "@starling/api/rpc";
import { createLogger, type Millis, SwarmError, systemClock } from "@starling/base";
import { clientCredentials, joinCluster } from "@starling/ca";
import { type Lifeline, LiveStream, SwarmSession } from "../../../node-agent/src/lifeline.ts";
import { failOnErrors } from "./fail.ts";

// Many nodes that do nothing but beat, in one process. They speak through a manager's certificate, which may speak for nodes, as
// followers relay those that are connected to them. Started with a JSON of BeatsConfig; then a line with one of `kinds` makes all
// begin anew so, and is answered "ready" when all have.

export interface BeatsConfig {
  readonly stateDir: string;
  /** The leader. */
  readonly manager: string;
  /** Of managers. */
  readonly token: string;
  /** Nodes `${prefix}0`… are in the cluster. */
  readonly prefix: string;
  readonly count: number;
  readonly connections: number;
}

/** How they beat: in the stream of their session as our agents do, or in calls of their own as Swarm's do. */
const kinds: Readonly<Record<string, typeof LiveStream | typeof SwarmSession>> = {
  live: LiveStream,
  calls: SwarmSession,
};
/** Nodes that begin their sessions within a tenth of a second. */
const registrationsAtOnce = 50;
const retryMs = 500;
const firstPeriodMs: Millis = 1_000;
failOnErrors("the beating nodes");
const config = JSON.parse(process.argv[2]!) as BeatsConfig;
const log = createLogger({ level: "error" });
const { stateDir, manager, token, prefix, count } = config;
const identity = await joinCluster({ addresses: [manager], token, stateDir, clock: systemClock, log });
const clients = Array.from(
  { length: config.connections },
  (_, i) =>
    new RpcClient(manager, clientCredentials(identity), { "grpc.use_local_subchannel_pool": 1, "bench.number": i }),
);

/** The node's stream with the leader, over a connection that it shares with others. */
function openLine(number: number, Line: typeof LiveStream | typeof SwarmSession, signal: AbortSignal): Lifeline {
  const shared = clients[number % clients.length]!;
  const metadata = new Metadata();
  const node = { nodeId: `${prefix}${number}`, roles: ["swarm-worker"], organization: identity.organization };
  addForwarded(metadata, { ...node, forwarded: false }, "127.0.0.1:1", "bench");
  const client: Pick<RpcClient, "call" | "stream" | "duplex"> = {
    call: (method, request, options) => shared.call(method, request, { ...options, metadata }),
    stream: (method, request, options) => shared.stream(method, request, { ...options, metadata }),
    duplex: (method, requests, options) => shared.duplex(method, requests, { ...options, metadata }),
  };
  const description = NodeDescription.create({ hostname: node.nodeId });
  return new Line({ client: client as RpcClient, description, previousId: "", clock: systemClock, signal });
}

/** Registers the node, then beats, until the signal aborts or something fails. */
async function live(line: Lifeline, onRegistered: () => void, signal: AbortSignal): Promise<void> {
  await line.messages.next();
  onRegistered();
  const listen = async () => {
    while (!(await line.messages.next()).done);
  };
  const beat = async () => {
    for (let period = firstPeriodMs; ; await systemClock.sleep(period, signal)) {
      period = await line.beat(Math.max(firstPeriodMs, period));
    }
  };
  await Promise.race([listen(), beat()]);
}

/** What ends each node's present way of living. */
const ways = Array.from({ length: count }, () => new AbortController());

/** Has every node live so, again and again as an agent does, one after the other. Resolves when all have registered. */
async function begin(Line: typeof LiveStream | typeof SwarmSession): Promise<void> {
  const registered = new Set<number>();
  const all = Promise.withResolvers<void>();
  const liveOn = async (number: number, signal: AbortSignal) => {
    while (!signal.aborted) {
      const ended = new AbortController();
      const either = AbortSignal.any([ended.signal, signal]);
      const onRegistered = () => registered.add(number).size === count && all.resolve();
      await live(openLine(number, Line, either), onRegistered, either).catch(() => undefined); // Another session begins.
      ended.abort(new SwarmError("Cancelled", "session ended"));
      await systemClock.sleep(retryMs);
    }
  };
  for (let i = 0; i < count; i++) {
    ways[i]!.abort(new SwarmError("Cancelled", "begins anew"));
    ways[i] = new AbortController();
    void liveOn(i, ways[i]!.signal);
    if (i % registrationsAtOnce === registrationsAtOnce - 1) await systemClock.sleep(100);
  }
  await all.promise;
}

for await (const kind of createInterface({ input: process.stdin })) {
  await begin(kinds[kind]!);
  process.stdout.write("ready\n");
}
// It ends with who started it.
process.exit(0);
