import { Metadata } from "@grpc/grpc-js";
import { durationMs, Heartbeat, LiveRequest, NodeDescription, NodeLife, SessionRequest } from "@starling/api";
import { addForwarded, RpcClient } from "@starling/api/rpc";
import { createLogger, SwarmError, systemClock, Wakeup } from "@starling/base";
import { clientCredentials, joinCluster } from "@starling/ca";
import { failOnErrors } from "./fail.ts";

// Many nodes that do nothing but beat, in one process. They speak through a manager's certificate, which may speak for nodes, as
// followers relay those that are connected to them. Started with a JSON of BeatsConfig; says "ready" when all have registered.

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

/** Nodes that begin their sessions within a tenth of a second. */
const registrationsAtOnce = 50;
const retryMs = 500;
// It ends with who started it.
process.stdin.on("end", () => process.exit(0)).resume();
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

/** Registers the node, then beats; again and again, as an agent does. */
async function live(number: number, onRegistered: () => void): Promise<void> {
  for (;;) {
    const ended = new AbortController();
    await beat(number, onRegistered, ended.signal).catch(() => undefined); // Whatever ended it, another session begins.
    ended.abort(new SwarmError("Cancelled", "session ended"));
    await systemClock.sleep(retryMs);
  }
}

async function beat(number: number, onRegistered: () => void, signal: AbortSignal): Promise<void> {
  const client = clients[number % clients.length]!;
  const metadata = new Metadata();
  const node = { nodeId: `${prefix}${number}`, roles: ["swarm-worker"], organization: identity.organization };
  addForwarded(metadata, { ...node, forwarded: false }, "127.0.0.1:1", "bench");
  const description = NodeDescription.create({ hostname: node.nodeId });
  const due = new Wakeup();
  async function* said() {
    yield LiveRequest.create({ session: SessionRequest.create({ description }) });
    for (;;) {
      await due.wait(signal);
      yield LiveRequest.create({ heartbeat: Heartbeat.create() });
    }
  }
  for await (const { session, heartbeat } of client.duplex(NodeLife.methods.live, said(), { metadata, signal })) {
    if (session !== undefined) onRegistered();
    if (session !== undefined) due.wake();
    if (heartbeat !== undefined) systemClock.setTimer(durationMs(heartbeat.period), due.wake);
  }
}

const registered = new Set<number>();
const all = Promise.withResolvers<void>();
for (let i = 0; i < count; i++) {
  void live(i, () => registered.add(i).size === count && all.resolve());
  if (i % registrationsAtOnce === registrationsAtOnce - 1) await systemClock.sleep(100);
}
await all.promise;
process.stdout.write("ready\n");
