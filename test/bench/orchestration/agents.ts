import { join } from "node:path";
import { createInterface } from "node:readline";
import {
  AssignmentChange_AssignmentAction,
  type AssignmentsMessage,
  isTerminal,
  NodeDescription,
  Platform,
  Resources,
  type Task,
  type TaskState,
  TaskStatus,
  timestampOfMs,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { createLogger, systemClock } from "@starling/base";
import { clientCredentials, joinCluster, type NodeIdentity } from "@starling/ca";
import { nextStep } from "../../../node-agent/src/exec/advance.ts";
import { Reporter } from "../../../node-agent/src/reporter.ts";
import { holdSession } from "../../../node-agent/src/session.ts";
import { failOnErrors } from "./fail.ts";

// Simulated agents of the orchestration bench, all in one process: production's sessions and reports, each over a connection of
// its own, and containers that are none. Started with a JSON of AgentsConfig; says "ready" when all have registered, then answers
// each line of standard input with the number of sessions that have ended.

export interface AgentsConfig {
  readonly folder: string;
  readonly managers: readonly string[];
  readonly token: string;
  readonly count: number;
}

// It ends with who started it.
process.stdin.on("end", () => process.exit(0)).resume();
failOnErrors("the agents");
const config = JSON.parse(process.argv[2]!) as AgentsConfig;
const log = createLogger({ level: "error" });
const clock = systemClock;
/** How long a container is made, and started. */
const stepMs = 50;
/** Joins that are under way at once. */
const joinsMax = 8;
const joinAttempts = 5;

let sessionsEnded = 0;

/** A node whose containers exist in its reports only. */
class BenchAgent {
  readonly #reporter = new Reporter({ clock, log });
  readonly #tasks = new Map<string, Task>();
  readonly #identity: NodeIdentity;
  readonly #manager: string;
  #sessionId = "";

  constructor(identity: NodeIdentity, manager: string) {
    this.#identity = identity;
    this.#manager = manager;
  }

  /** Keeps a session for ever; `onRegistered` at its first. */
  async run(onRegistered: () => void): Promise<never> {
    const client = new RpcClient(this.#manager, clientCredentials(this.#identity));
    for (;;) {
      const signal = new AbortController().signal;
      let detach = () => {};
      await holdSession({
        client,
        description: describeNode(this.#identity.nodeId),
        previousId: this.#sessionId,
        clock,
        signal,
        onRegistered: (session) => {
          this.#sessionId = session.id;
          detach = this.#reporter.attach(session.sendStatuses);
          onRegistered();
        },
        onMessage: () => {},
        onAssignments: (message) => this.#take(message),
        leaving: async () => undefined,
      }).catch((error: unknown) => {
        if (sessionsEnded++ === 0) process.stderr.write(`orchestration bench: the first session ends: ${error}\n`);
      });
      detach();
      await clock.sleep(200);
    }
  }

  #take({ changes }: AssignmentsMessage): void {
    for (const { action, assignment } of changes) {
      const task = assignment?.task;
      if (task === undefined) continue;
      if (action === AssignmentChange_AssignmentAction.REMOVE) {
        this.#tasks.delete(task.id);
        this.#reporter.drop(task.id);
        continue;
      }
      const held = this.#tasks.get(task.id);
      this.#tasks.set(task.id, held ? { ...task, status: held.status } : task);
      this.#advance(task.id);
    }
  }

  /** The next step by production's rules: states in between are reported as an agent does. */
  #advance(id: string): void {
    const task = this.#tasks.get(id);
    if (task === undefined || isTerminal(task.status.state)) return;
    const step = nextStep(task.status.state, task.desiredState);
    if (step.t === "rest") return;
    if (step.t === "move") {
      this.#become(id, step.to);
      this.#advance(id);
      return;
    }
    if (step.operation === "wait") return;
    const before = task.status.state;
    clock.setTimer(stepMs, () => {
      if (this.#tasks.get(id)?.status.state !== before) return;
      this.#become(id, step.to);
      this.#advance(id);
    });
  }

  #become(id: string, state: TaskState): void {
    const task = this.#tasks.get(id)!;
    const status = TaskStatus.create({ ...task.status, state, timestamp: timestampOfMs(clock.now()) });
    this.#tasks.set(id, { ...task, status });
    this.#reporter.report(id, status);
  }
}

function describeNode(hostname: string): NodeDescription {
  return NodeDescription.create({
    hostname,
    platform: Platform.create({ os: "linux", architecture: "amd64" }),
    resources: Resources.create({ nanoCpus: 64e9, memoryBytes: 256 * 2 ** 30 }),
  });
}

/** As a node's operator does who tries again. */
async function joined(stateDir: string): Promise<NodeIdentity> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await joinCluster({ addresses: config.managers, token: config.token, stateDir, clock, log });
    } catch (thrown) {
      if (attempt === joinAttempts) throw thrown;
    }
  }
}

let next = 0;
let registered = 0;
const all = Promise.withResolvers<void>();
const joining = async () => {
  while (next < config.count) {
    const number = next++;
    const stateDir = join(config.folder, `agent-${number}`);
    const identity = await joined(stateDir);
    let first = true;
    const agent = new BenchAgent(identity, config.managers[number % config.managers.length]!);
    void agent.run(() => {
      if (first && ++registered === config.count) all.resolve();
      first = false;
    });
  }
};
await Promise.all(Array.from({ length: joinsMax }, joining));
await all.promise;
process.stdout.write("ready\n");
for await (const _ of createInterface({ input: process.stdin })) process.stdout.write(`${sessionsEnded}\n`);
process.exit(0);
