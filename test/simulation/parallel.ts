import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";

/** What a run of many seeds adds up to. */
export interface Totals {
  readonly counts: Record<"events" | "virtualMs" | "committed" | "writes" | "acknowledged" | "reads", number>;
  readonly struck: Record<string, number>;
}

export function noTotals(): Totals {
  return { counts: { events: 0, virtualMs: 0, committed: 0, writes: 0, acknowledged: 0, reads: 0 }, struck: {} };
}

/** Adds `more` to `totals`. */
export function addTotals(totals: Totals, more: Totals): void {
  for (const key of Object.keys(more.counts) as (keyof Totals["counts"])[]) totals.counts[key] += more.counts[key];
  for (const [fault, times] of Object.entries(more.struck)) totals.struck[fault] = (totals.struck[fault] ?? 0) + times;
}

/** Seeds that one process takes at a time. */
const chunkSeeds = 20;

/**
 * Runs `count` seeds from `first` on in `jobs` processes. Undefined when a check failed: the process that saw it has told,
 * and the others are ended.
 */
export async function runInParallel(
  first: number,
  count: number,
  options: { readonly steps: number; readonly members: number; readonly jobs: number },
): Promise<Totals | undefined> {
  const totals = noTotals();
  const running = new Set<ChildProcess>();
  let next = first;
  let failed = false;
  const work = async () => {
    while (next < first + count && !failed) {
      const seed = next;
      const seeds = Math.min(chunkSeeds, first + count - seed);
      next += seeds;
      const { steps, members } = options;
      const args = { seed, seeds, steps, members };
      const child = fork(
        join(import.meta.dirname, "main.ts"),
        Object.entries(args).flatMap(([name, value]) => [`--${name}`, String(value)]),
      );
      running.add(child);
      child.on("message", (message) => addTotals(totals, message as Totals));
      const status = await new Promise<number | null>((resolve, reject) => {
        child.once("error", reject);
        child.once("exit", resolve);
      });
      running.delete(child);
      if (status === 0) continue;
      failed = true;
      for (const other of running) other.kill();
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return failed ? undefined : totals;
}
