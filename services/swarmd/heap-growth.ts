import type { PerformanceEntry, PerformanceObserver } from "node:perf_hooks";
import { getHeapStatistics, setFlagsFromString } from "node:v8";

// V8 reads the factor by which its young generation grows each time that it has been filled by what survives. A factor of 1 is taken
// at run time only: at the start it counts as 2, the default. How far the old one grows it reads at the end of each whole collection.

/**
 * Keeps V8's young generation as small as it is now: a worker waits most of the time, and takes 13 MiB less under load. From then
 * on V8 takes no code caches, neither ours nor those that Node has of its own modules: what a worker needs is loaded before.
 */
export function keepYoungGenerationSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}

/**
 * Lets it grow, up to --max-semi-space-size: otherwise what a manager's requests leave behind reaches the old generation, whose
 * collections hold its thread for 100 ms and more. There is no way back to a smaller one. Code caches are taken again.
 */
export function letYoungGenerationGrow(): void {
  setFlagsFromString("--semi-space-growth-factor=2");
}

/** How the old generation grows, and what V8 does of itself to make it smaller. */
export interface Growth {
  /** By which it may grow until the next whole collection, after one that left so much; 0: as V8 likes. */
  readonly percent: number;
  /** After which everything is collected once more if little is allocated, to give memory back. */
  readonly reducerDelayMs: number;
}

const asV8Likes: Growth = { percent: 0, reducerDelayMs: 8_000 };
/** Of what is in use: the sessions of 10,000 nodes take it beyond, 100,000 tasks alone do not. */
const TIGHT_BYTES_MAX = 200 * 2 ** 20;
/** A collection to give memory back waits for all that is freed: of more than this, 150 ms in a turn. */
const REDUCED_BYTES_MAX = 100 * 2 ** 20;
const NEVER_MS = 2 ** 31 - 1;

export function growthAfter(usedBytes: number): Growth {
  return {
    percent: usedBytes < TIGHT_BYTES_MAX ? 80 : asV8Likes.percent,
    reducerDelayMs: usedBytes < REDUCED_BYTES_MAX ? asV8Likes.reducerDelayMs : NEVER_MS,
  };
}

function setGrowth({ percent, reducerDelayMs }: Growth): void {
  setFlagsFromString(`--heap-growing-percent=${percent}`);
  setFlagsFromString(`--gc-memory-reducer-start-delay-ms=${reducerDelayMs}`);
}

let collections: PerformanceObserver | undefined;

/**
 * Has the old generation collected once it holds 80 % more than the last collection left, which by V8's own judgement may be 300 %. V8
 * plans to mark all that is there, waste included, within half a second: with threads that get too little CPU for so much it makes
 * whatever the program allocates meanwhile wait. What is too large for that anyway is better collected seldom, as V8 does. No code
 * caches are taken from then on, either.
 */
export function keepOldGenerationTight(): void {
  // Not loaded by who is never a manager.
  const { constants, PerformanceObserver } = process.getBuiltinModule("node:perf_hooks");
  const isWhole = (entry: PerformanceEntry) =>
    (entry as PerformanceEntry & { readonly detail?: { readonly kind?: number } }).detail?.kind ===
    constants.NODE_PERFORMANCE_GC_MAJOR;
  const adapt = () => setGrowth(growthAfter(getHeapStatistics().used_heap_size));
  adapt();
  collections ??= new PerformanceObserver((list) => {
    if (list.getEntries().some(isWhole)) adapt();
  });
  collections.observe({ entryTypes: ["gc"] });
}

/** As far as V8 likes, as at the start. */
export function letOldGenerationGrow(): void {
  collections?.disconnect();
  collections = undefined;
  setGrowth(asV8Likes);
}
