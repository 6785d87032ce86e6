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
import { threadTimes } from "../thread-times.ts";

// One case of the scheduler bench in a process that runs as swarmd does. Started with a JSON of CaseConfig; prints a JSON of its
// runs.

export interface CaseConfig {
  readonly nodes: number;
  readonly tasks: number;
  /** All tasks are of one service and spec version; else each is scheduled on its own. */
  readonly oneService: boolean;
  /** By the cluster's setting, each task reserving a hundredth of a node: a node that is full is passed over. Default: spread. */
  readonly binpack?: boolean;
  readonly runs: number;
}

export interface Run {
  readonly seconds: number;
  /** CPU time of the thread between two turns of the event loop, at most. */
  readonly longestSliceMs: number;
}

/** Time from the scheduler's start on a store full of PENDING tasks until the last one is assigned, as SwarmKit's. */
async function once({ nodes, tasks, oneService, binpack }: CaseConfig): Promise<Run> {
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
  for (let before = threadTimes().ranMs; !signal.aborted; ) {
    await new Promise((resolve) => setImmediate(resolve));
    const now = threadTimes().ranMs;
    longest = Math.max(longest, now - before);
    before = now;
  }
  return longest;
}

const config = JSON.parse(process.argv[2]!) as CaseConfig;
const measured: Run[] = [];
for (let run = 0; run < config.runs; run++) measured.push(await once(config));
process.stdout.write(JSON.stringify(measured));
