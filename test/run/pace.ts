/** What `work` takes on a common machine, ms. */
const commonMs = 65;

/** How many times slower than a common machine this one is now, by work like that of tests; at least 1. */
export function measurePace(): number {
  work(); // compiles
  return paceOf(Array.from({ length: 5 }, time));
}

/** By the fastest run: the others may have waited for a CPU. */
export function paceOf(tookMs: readonly number[]): number {
  return Math.max(1, Math.round((10 * Math.min(...tookMs)) / commonMs) / 10);
}

function time(): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}

/** Objects, strings, maps and sorting, as everything here does. */
function work(): void {
  const rows = Array.from({ length: 40_000 }, (_, i) => ({
    id: `task-${(i * 7_919) % 40_000}`,
    at: i % 97,
    labels: { i },
  }));
  const byId = new Map(rows.map((row) => [row.id, row]));
  const copy = JSON.parse(JSON.stringify([...byId.values()])) as typeof rows;
  copy.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
}
