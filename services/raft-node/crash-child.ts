import * as grpc from "@grpc/grpc-js";
import { createLogger, systemClock, systemRandom } from "@starling/base";
import { RaftNode } from "./raft-node.ts";
import { createNode, TestMachine } from "./testing.ts";

// A cluster of one that writes until it is killed. Says "has <ids>" once it leads, then "ok <id>" for each acknowledged
// write. Run by crash.test.ts: node crash-child.ts <state folder> <prefix of ids>.

const [stateDir, prefix] = process.argv.slice(2) as [string, string];
const machine = new TestMachine();
const say = (line: string) => process.stdout.write(`${line}\n`);

const raft = new RaftNode({
  stateDir,
  nodeId: "n1",
  addr: "127.0.0.1:1",
  stateMachine: machine,
  transportCredentials: () => grpc.credentials.createInsecure(),
  clock: systemClock,
  random: systemRandom,
  log: createLogger({ level: "error" }),
  snapshots: { intervalEntries: 40, keepEntries: 5 },
  segmentBytes: 32 * 1024,
  onLeadership: (isLeader) => {
    if (isLeader) void writeOn();
  },
  onFatal: (error) => {
    say(`fatal ${error.message}`);
    process.exit(3);
  },
});
await raft.start();
setInterval(() => undefined, 1_000);

async function writeOn(): Promise<void> {
  say(`has ${machine.applied.join(" ")}`);
  const writer = async (name: string) => {
    for (let i = 0; ; i++) {
      const id = `${prefix}-${name}-${i}`;
      await raft.propose(createNode(id, 300), () => void machine.applied.push(id));
      say(`ok ${id}`);
    }
  };
  await Promise.all(["a", "b", "c", "d"].map(writer));
}
