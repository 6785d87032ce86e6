import {
  Node,
  NodeDescription,
  NodeStatus,
  NodeStatus_State,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  Version,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { createScheduler } from "@starling/scheduler";
import { MemoryStore } from "@starling/store";
import { type BenchRow, rowOf } from "./types.ts";

interface Case {
  readonly nodes: number;
  readonly tasks: number;
  /** All tasks are of one service and spec version; else each is scheduled on its own. */
  readonly oneService: boolean;
  /** Seconds. */
  readonly target: number;
  readonly swarmkit: number;
}

const cases: readonly Case[] = [
  { nodes: 1_000, tasks: 1_000, oneService: false, target: 0.05, swarmkit: 0.32 },
  { nodes: 1_000, tasks: 10_000, oneService: false, target: 0.5, swarmkit: 4.8 },
  { nodes: 1_000, tasks: 100_000, oneService: false, target: 5, swarmkit: 45 },
  { nodes: 1_000, tasks: 100_000, oneService: true, target: 2, swarmkit: 8.9 },
  { nodes: 10_000, tasks: 100_000, oneService: true, target: 2.5, swarmkit: 9.9 },
  { nodes: 100_000, tasks: 100_000, oneService: true, target: 6, swarmkit: 24 },
];

/** Time from the scheduler's start on a store full of PENDING tasks until the last one is assigned, as SwarmKit's. */
export async function run(): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const each of cases) rows.push(await measure(each, 10));
  return rows;
}

async function measure(each: Case, runs: number): Promise<BenchRow> {
  const seconds: number[] = [];
  for (let run = 0; run < runs; run++) seconds.push(await once(each));
  const name = {
    bench: "scheduler",
    case: `${each.nodes} nodes x ${each.tasks} tasks, ${each.oneService ? "one service" : "task by task"}`,
    unit: "s",
    better: "lower" as const,
    target: each.target,
    other: { name: "SwarmKit", value: each.swarmkit },
  };
  return rowOf(name, seconds);
}

async function once({ nodes, tasks, oneService }: Case): Promise<number> {
  const store = new MemoryStore();
  const spec = TaskSpec.create();
  const status = TaskStatus.create({ state: TaskState.PENDING });
  await store.batch(Array.from({ length: nodes }).keys(), (tx, n) => {
    const id = `node${n}`;
    const description = NodeDescription.create({ hostname: id });
    tx.nodes.create(Node.create({ id, description, status: NodeStatus.create({ state: NodeStatus_State.READY }) }));
  });
  await store.batch(Array.from({ length: tasks }).keys(), (tx, n) => {
    const own = oneService ? { serviceId: "service", specVersion: Version.create({ index: 1 }) } : {};
    tx.tasks.create(Task.create({ id: `task${n}`, desiredState: TaskState.RUNNING, spec, status, ...own }));
  });
  const abort = new AbortController();
  const events = store.watch({ kinds: ["task"], signal: abort.signal });
  const startedAt = performance.now();
  const ended = createScheduler({ store, clock: systemClock, log: nullLogger }).run(abort.signal);
  let assigned = 0;
  for await (const { object } of events) {
    if (object.status.state === TaskState.ASSIGNED && ++assigned === tasks) break;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  abort.abort();
  await ended;
  return seconds;
}
