import { join, resolve } from "node:path";
import { EtcdGroup, hasEtcd } from "./raft/etcd.ts";
import { BenchGroup } from "./raft/group.ts";
import type { Load } from "./raft/latency.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

/** Callers at once, and what must be reached with them: proposals and store writes a second. */
const cases = [
  { callers: 1, proposals: 800, writes: 700 },
  { callers: 16, proposals: 6_000, writes: 4_000 },
  { callers: 64, proposals: 12_000, writes: 8_000 },
];
const dir = join(resolve(import.meta.dirname, "../.."), ".cache", "bench");
const runMs = 1_000;
const tasks = 100_000;

/**
 * Three members: processes of their own, mutual TLS on the loopback, synced logs on one disk, changes of 1 KB made in the
 * leader's process. Beside proposals the puts of a client to three etcd members without TLS. Delays of the event loop are
 * the leader's, while 64 callers keep it busy.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const runs = quick ? 2 : 10;
  return [
    ...(await throughput(runs)),
    ...(await slowDisk(runs)),
    await losses(quick ? 3 : 20),
    ...(await snapshots(quick ? 10_000 : tasks, quick ? 1 : 3)),
  ];
}

const lower = { bench: "raft", unit: "ms", better: "lower" } as const;
const higher = { bench: "raft", better: "higher" } as const;
const named = (callers: number) => (callers === 1 ? "1 caller" : `${callers} callers`);

async function throughput(runs: number): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  await using ours = await BenchGroup.start(dir, 3, { machine: "list" });
  await using etcd = hasEtcd() ? await EtcdGroup.start(dir) : undefined;
  for (const { callers, proposals } of cases) {
    const mine = await measured(runs, () => ours.load(callers, runMs));
    const theirs = etcd && (await measured(runs, () => etcd.load(callers, runMs)));
    const row = (name: Parameters<typeof rowOf>[0], of: (load: Load) => number) => {
      const other = theirs && { name: "etcd", value: rowOf(name, theirs.map(of)).value };
      rows.push({ ...rowOf(name, mine.map(of)), ...(other && { other }) });
    };
    const what = `proposals, ${named(callers)}`;
    row({ ...higher, case: what, unit: "proposals/s", target: proposals }, ({ rate }) => rate);
    row({ ...lower, case: `${what}: p50` }, ({ p50 }) => p50);
    row({ ...lower, case: `${what}: p99` }, ({ p99 }) => p99);
    if (callers !== 64) continue;
    const loop = mine.map((load) => load.loop.p99);
    rows.push(rowOf({ ...lower, case: `${what}: event loop delay p99`, target: 20 }, loop));
  }
  return [...rows, ...(await storeWrites(runs))];
}

/** As a manager writes: transactions of the store, one object each. */
async function storeWrites(runs: number): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  await using group = await BenchGroup.start(dir, 3, { machine: "store" });
  for (const { callers, writes } of cases) {
    const loads = await measured(runs, () => group.load(callers, runMs, "write"));
    const what = `store writes, ${named(callers)}`;
    const rates = loads.map(({ rate }) => rate);
    rows.push(rowOf({ ...higher, case: what, unit: "writes/s", target: writes }, rates));
    for (const p of ["p50", "p99"] as const) {
      const times = loads.map((load) => load[p]);
      rows.push(rowOf({ ...lower, case: `${what}: ${p}` }, times));
    }
  }
  return rows;
}

/** Each synced write takes 50 ms: the writes wait, the process must not. */
async function slowDisk(runs: number): Promise<BenchRow[]> {
  await using group = await BenchGroup.start(dir, 3, { machine: "list", syncDelayMs: 50 });
  const loads = await measured(runs, () => group.load(64, runMs));
  const what = "proposals, 64 callers, disk of 50 ms a sync";
  const rates = loads.map(({ rate }) => rate);
  const delays = loads.map(({ loop }) => loop.p99);
  return [
    rowOf({ ...higher, case: what, unit: "proposals/s" }, rates),
    rowOf({ ...lower, case: `${what}: event loop delay p99`, target: 20 }, delays),
  ];
}

async function losses(kills: number): Promise<BenchRow> {
  await using group = await BenchGroup.start(dir, 3, { machine: "list" });
  const times: number[] = [];
  for (let i = 0; i < kills; i++) times.push(await group.killLeader());
  return rowOf({ ...lower, case: "leader killed -> next write accepted", target: 1_500 }, times);
}

/** The longest pause of the event loop while a state of so many tasks is written, sent, received and restored. */
async function snapshots(count: number, runs: number): Promise<BenchRow[]> {
  await using group = await BenchGroup.start(dir, 1, { machine: "store" });
  await group.first.ask(`fill ${count}`);
  const [taken, sent, restored]: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < runs; i++) taken.push((await group.first.delays("snapshot")).max);
  for (let i = 0; i < runs; i++) {
    await group.first.ask("reset");
    const joiner = await group.add();
    restored.push((await joiner.delays(`has-tasks ${count}`)).max);
    sent.push((await group.first.delays("delays")).max);
  }
  const row = (what: string, values: number[]) =>
    rowOf({ ...lower, case: `longest pause, ${count} tasks: ${what}`, target: 50 }, values);
  return [row("snapshot taken", taken), row("sent to a joiner", sent), row("received and restored", restored)];
}

/** Each case is warmed up by one run that does not count. */
async function measured<T>(runs: number, once: () => Promise<T>): Promise<T[]> {
  await once();
  const all: T[] = [];
  for (let i = 0; i < runs; i++) all.push(await once());
  return all;
}
