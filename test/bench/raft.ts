import { join, resolve } from "node:path";
import { EtcdGroup, hasEtcd } from "./raft/etcd.ts";
import { BenchGroup } from "./raft/group.ts";
import { type BenchRow, rowOf } from "./types.ts";

const runs = 10;
const runMs = 1_000;
/** Callers at once, and what must be reached with them (proposals a second). */
const cases = [
  { callers: 1, target: 800 },
  { callers: 16, target: 6_000 },
  { callers: 64, target: 12_000 },
];
const dir = join(resolve(import.meta.dirname, "../.."), ".cache", "bench");

/**
 * Proposals of 1 KB a second through three members: processes of their own, mutual TLS on the loopback, synced logs on
 * one disk; proposed in the leader's process. Beside it the puts of a client to three etcd members without TLS.
 */
export async function run(): Promise<readonly BenchRow[]> {
  const ours = await measured(await BenchGroup.start(dir));
  const theirs = hasEtcd() ? await measured(await EtcdGroup.start(dir)) : undefined;
  return cases.map(({ callers, target }, i) => {
    const other = theirs === undefined ? undefined : rowOf(named(callers), theirs[i]!).value;
    return {
      ...rowOf(named(callers), ours[i]!),
      target,
      ...(other === undefined ? {} : { other: { name: "etcd puts", value: other } }),
    };
  });
}

function named(callers: number) {
  const what = callers === 1 ? "1 caller" : `${callers} callers`;
  return {
    bench: "raft",
    case: `3 members, TLS, synced, 1 KB: ${what}`,
    unit: "proposals/s",
    better: "higher",
  } as const;
}

/** Rates of each case's runs. Ends the group. */
async function measured(group: AsyncDisposable & { load(callers: number, ms: number): Promise<number> }) {
  await using _ended = group;
  const rates: number[][] = [];
  for (const { callers } of cases) {
    await group.load(callers, runMs);
    const values: number[] = [];
    for (let i = 0; i < runs; i++) values.push(await group.load(callers, runMs));
    rates.push(values);
  }
  return rates;
}
