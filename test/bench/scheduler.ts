import {
  Annotations,
  Cluster,
  ClusterSpec,
  Node,
  NodeDescription,
  NodeStatus,
  NodeStatus_State,
  placementStrategyLabel,
  ResourceRequirements,
  Resources,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  Version,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { createScheduler } from "@starling/scheduler";
import { MemoryStore } from "@starling/store";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

interface Case {
  readonly nodes: number;
  readonly tasks: number;
  /** All tasks are of one service and spec version; else each is scheduled on its own. */
  readonly oneService: boolean;
  /** By the cluster's setting, each task reserving a hundredth of a node: a node that is full is passed over. Default: spread. */
  readonly binpack?: boolean;
  /** Seconds. */
  readonly target: number;
  readonly swarmkit?: number;
}

const cases: readonly Case[] = [
  { nodes: 1_000, tasks: 1_000, oneService: false, target: 0.05, swarmkit: 0.32 },
  { nodes: 1_000, tasks: 10_000, oneService: false, target: 0.5, swarmkit: 4.8 },
  { nodes: 1_000, tasks: 100_000, oneService: false, target: 5, swarmkit: 45 },
  { nodes: 1_000, tasks: 100_000, oneService: true, target: 2, swarmkit: 8.9 },
  { nodes: 1_000, tasks: 100_000, oneService: false, binpack: true, target: 5 },
  { nodes: 1_000, tasks: 100_000, oneService: true, binpack: true, target: 2 },
  { nodes: 10_000, tasks: 100_000, oneService: true, target: 2.5, swarmkit: 9.9 },
  { nodes: 100_000, tasks: 100_000, oneService: true, target: 6, swarmkit: 24 },
];

/** Nothing may hold the manager's thread for longer. */
const SLICE_TARGET_MS = 20;

interface Run {
  readonly seconds: number;
  /** CPU time of the thread between two turns of the event loop, at most. */
  readonly longestSliceMs: number;
}

/** Time from the scheduler's start on a store full of PENDING tasks until the last one is assigned, as SwarmKit's. */
export async function run({ quick }: BenchOptions): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const each of cases) rows.push(...(await measure(each, quick ? 1 : 10)));
  return rows;
}

async function measure(each: Case, runs: number): Promise<BenchRow[]> {
  const measured: Run[] = [];
  for (let run = 0; run < runs; run++) measured.push(await once(each));
  const name = `${each.nodes} nodes x ${each.tasks} tasks, ${each.oneService ? "one service" : "task by task"}${each.binpack ? ", bin-packed" : ""}`;
  const row = { bench: "scheduler", better: "lower" as const };
  const other = each.swarmkit === undefined ? {} : { other: { name: "SwarmKit", value: each.swarmkit } };
  return [
    rowOf(
      { ...row, case: name, unit: "s", target: each.target, ...other },
      measured.map(({ seconds }) => seconds),
    ),
    rowOf(
      { ...row, case: `${name}: longest slice`, unit: "ms", target: SLICE_TARGET_MS },
      measured.map(({ longestSliceMs }) => longestSliceMs),
    ),
  ];
}

async function once({ nodes, tasks, oneService, binpack }: Case): Promise<Run> {
  const store = new MemoryStore();
  const resources = binpack ? roomOf(1) : undefined;
  const spec = TaskSpec.create({ resources: resources && ResourceRequirements.create({ reservations: resources }) });
  if (binpack) await store.update((tx) => tx.clusters.create(binpacked));
  const status = TaskStatus.create({ state: TaskState.PENDING });
  await store.batch(Array.from({ length: nodes }).keys(), (tx, n) => {
    const id = `node${n}`;
    const description = NodeDescription.create({ hostname: id, resources: binpack ? roomOf(100) : undefined });
    tx.nodes.create(Node.create({ id, description, status: NodeStatus.create({ state: NodeStatus_State.READY }) }));
  });
  await store.batch(Array.from({ length: tasks }).keys(), (tx, n) => {
    const own = oneService ? { serviceId: "service", specVersion: Version.create({ index: 1 }) } : {};
    tx.tasks.create(Task.create({ id: `task${n}`, desiredState: TaskState.RUNNING, spec, status, ...own }));
  });
  const abort = new AbortController();
  const events = store.watch({ kinds: ["task"], signal: abort.signal });
  const slices = longestSlice(abort.signal);
  const startedAt = performance.now();
  const ended = createScheduler({ store, clock: systemClock, log: nullLogger }).run(abort.signal);
  let assigned = 0;
  for await (const { object } of events) {
    if (object.status.state === TaskState.ASSIGNED && ++assigned === tasks) break;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  abort.abort();
  await ended;
  return { seconds, longestSliceMs: await slices };
}

const binpacked = Cluster.create({
  id: "cluster",
  spec: ClusterSpec.create({ annotations: Annotations.create({ labels: { [placementStrategyLabel]: "binpack" } }) }),
});

function roomOf(tasks: number): Resources {
  return Resources.create({ nanoCpus: tasks * 1e7, memoryBytes: tasks * 2 ** 20 });
}

async function longestSlice(signal: AbortSignal): Promise<number> {
  let longest = 0;
  for (let before = process.threadCpuUsage(); !signal.aborted; before = process.threadCpuUsage()) {
    await new Promise((resolve) => setImmediate(resolve));
    const { user, system } = process.threadCpuUsage(before);
    longest = Math.max(longest, (user + system) / 1000);
  }
  return longest;
}
