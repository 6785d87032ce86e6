import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { Node, NodeDescription } from "@starling/api";
import { newId, WatchQueue } from "@starling/base";
import { MemoryStore } from "@starling/store";
import type { TaskMemory } from "./store/memory.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

const runs = 10;
/** Memory hardly varies, and a run takes half a minute. */
const memoryRuns = 3;
const objects = 100_000;

/** Times of the store alone: no log, no disk, no network. As SwarmKit's benchmarks of its memory store and watch queue. */
export async function run({ quick }: BenchOptions): Promise<BenchRow[]> {
  return [
    ...(await tables()),
    await publish(1_000, 0.5, 1.7),
    await publish(10_000, 5, 50),
    ...memory(quick ? 1 : memoryRuns),
  ];
}

/** Heap per task of 100,000 tasks of 100 services: on the leader that made them, and after a restart. */
function memory(count: number): BenchRow[] {
  const program = join(import.meta.dirname, "store/memory.ts");
  const measured = Array.from({ length: count }, () => {
    const printed = execFileSync(process.execPath, ["--expose-gc", program, String(objects), "100"]);
    return JSON.parse(String(printed)) as TaskMemory;
  });
  const row = { bench: "store", unit: "KiB", better: "lower" as const, target: 2 };
  const kib = (of: keyof TaskMemory) => measured.map((each) => each[of] / 1024);
  return [
    rowOf({ ...row, case: "memory of a task" }, kib("written")),
    rowOf({ ...row, case: "memory of a task, after a restart" }, kib("restored")),
  ];
}

async function tables(): Promise<BenchRow[]> {
  const [create, update, get, list]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (let run = 0; run < runs; run++) {
    const ids = Array.from({ length: objects }, () => newId());
    const nodes = ids.map((id) => Node.create({ id, description: NodeDescription.create({ hostname: id }) }));
    const store = new MemoryStore();
    create.push(await perObject(() => store.update((tx) => nodes.forEach((node) => void tx.nodes.create(node)))));
    const stored = ids.map((id) => store.view((tx) => tx.nodes.get(id)!));
    update.push(await perObject(() => store.update((tx) => stored.forEach((node) => void tx.nodes.update(node)))));
    get.push(await perObject(() => ids.forEach((id) => void store.view((tx) => tx.nodes.get(id)))));
    list.push(((await perObject(() => store.view((tx) => tx.nodes.find()))) * objects) / 1000);
  }
  const swarmkit = (value: number) => ({ name: "SwarmKit", value });
  const row = { bench: "store", better: "lower" as const };
  return [
    rowOf({ ...row, case: "create in one transaction", unit: "µs", target: 10, other: swarmkit(30) }, create),
    rowOf({ ...row, case: "update in one transaction", unit: "µs", target: 10, other: swarmkit(30) }, update),
    rowOf({ ...row, case: "get", unit: "µs", target: 1, other: swarmkit(1.4) }, get),
    rowOf({ ...row, case: "list 100k nodes", unit: "ms", target: 10, other: swarmkit(27.5) }, list),
  ];
}

/** Microseconds per object of something that handles all of them. */
async function perObject(work: () => unknown): Promise<number> {
  const startedAt = performance.now();
  await work();
  return ((performance.now() - startedAt) * 1000) / objects;
}

/** Milliseconds until an event has reached every one of `listeners`. */
async function publish(listeners: number, target: number, swarmkit: number): Promise<BenchRow> {
  const queue = new WatchQueue<number>();
  let reached = 0;
  let all: (() => void) | undefined;
  const abort = new AbortController();
  for (let n = 0; n < listeners; n++) {
    const watcher = queue.watch({ signal: abort.signal });
    void (async () => {
      for await (const _ of watcher) if (++reached % listeners === 0) all?.();
    })();
  }
  const values: number[] = [];
  for (let run = 0; run < 10 * runs; run++) {
    const startedAt = performance.now();
    await new Promise<void>((resolve) => {
      all = resolve;
      queue.publish(run);
    });
    values.push(performance.now() - startedAt);
  }
  abort.abort();
  const name = {
    bench: "store",
    case: `watch: publish to ${listeners} listeners`,
    unit: "ms",
    better: "lower" as const,
  };
  return rowOf({ ...name, target, other: { name: "SwarmKit", value: swarmkit } }, values);
}
