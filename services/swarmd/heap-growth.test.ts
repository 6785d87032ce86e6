import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { lean } from "../../deploy/distribution/lean.ts";
import { growthAfter } from "./heap-growth.ts";

/**
 * A process as swarmd's, which makes much that survives a while; MiB of its young generation, both halves, after each of `steps`: the least
 * of a few looks, as V8 counts pages in which something survived in its place until the next collection.
 */
function sizes(...steps: readonly ("keepYoungGenerationSmall" | "letYoungGenerationGrow")[]): readonly number[] {
  const script = `
    import * as young from ${JSON.stringify(join(import.meta.dirname, "heap-growth.ts"))};
    import { getHeapSpaceStatistics } from "node:v8";
    let kept = [];
    const size = () =>
      getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size / 2 ** 20;
    const make = () => {
      for (let i = 0; i < 300_000; i++) {
        kept.push({ i, list: [i] });
        if (kept.length > 30_000) kept = kept.slice(15_000);
      }
    };
    const sizes = ${JSON.stringify(steps)}.map((step) => {
      young[step]();
      for (let round = 0; round < 5; round++) make();
      return Math.min(...Array.from({ length: 5 }, () => (make(), size())));
    });
    console.log(JSON.stringify(sizes));`;
  const argv = [...lean.flags, "--input-type=module", "--eval", script];
  return JSON.parse(execFileSync(process.execPath, argv, { encoding: "utf8" })) as number[];
}

it("the young generation stays as it is until it may grow", () => {
  expect(sizes("keepYoungGenerationSmall", "letYoungGenerationGrow")).toEqual([2, 32]);
});

it("of who has been a manager before it is no smaller again", () => {
  expect(sizes("letYoungGenerationGrow", "keepYoungGenerationSmall")).toEqual([32, 32]);
});

/** How often V8 collects everything of a process that keeps replacing what it keeps. */
function collections(...steps: readonly ("keepOldGenerationTight" | "letOldGenerationGrow")[]): number {
  const script = `
    import * as heap from ${JSON.stringify(join(import.meta.dirname, "heap-growth.ts"))};
    import { constants, PerformanceObserver } from "node:perf_hooks";
    import { setImmediate } from "node:timers/promises";
    let seen = 0;
    const { NODE_PERFORMANCE_GC_MAJOR } = constants;
    new PerformanceObserver((list) => {
      seen += list.getEntries().filter(({ detail }) => detail.kind === NODE_PERFORMANCE_GC_MAJOR).length;
    }).observe({ entryTypes: ["gc"] });
    for (const step of ${JSON.stringify(steps)}) heap[step]();
    const make = (i) => ({ i, list: [i, i] });
    const kept = Array.from({ length: 200_000 }, (_, i) => make(i));
    let at = 0;
    const replaceSome = async () => {
      for (let i = 0; i < 5_000; i++) kept[(at = (at + 7_919) % kept.length)] = make(i);
      await setImmediate();
    };
    for (let turn = 0; turn < 300; turn++) await replaceSome();
    seen = 0;
    for (let turn = 0; turn < 1_200; turn++) await replaceSome();
    console.log(seen);`;
  const argv = [...lean.flags, "--input-type=module", "--eval", script];
  return Number(execFileSync(process.execPath, argv, { encoding: "utf8" }));
}

it("a manager's old generation is collected long before V8 would", () => {
  const byItself = collections("keepOldGenerationTight", "letOldGenerationGrow");
  expect(byItself).toBeGreaterThan(0);
  expect(collections("keepOldGenerationTight")).toBeGreaterThan(byItself * 1.5);
});

/**
 * How V8 is told to let the old generation grow, which its tag of code caches tells: once a process has asked to keep it tight, once it
 * holds much, once it holds little again, and once it does not ask any more.
 */
function growths(): readonly string[] {
  const script = `
    import { growthAfter, keepOldGenerationTight, letOldGenerationGrow } from
      ${JSON.stringify(join(import.meta.dirname, "heap-growth.ts"))};
    import { setImmediate } from "node:timers/promises";
    import { cachedDataVersionTag, setFlagsFromString } from "node:v8";
    const names = new Map([[cachedDataVersionTag(), "as V8 likes"]]);
    for (const [name, bytes] of [["tight", 0], ["seldom", 2 ** 40]]) {
      const { percent, reducerDelayMs } = growthAfter(bytes);
      setFlagsFromString("--heap-growing-percent=" + percent);
      setFlagsFromString("--gc-memory-reducer-start-delay-ms=" + reducerDelayMs);
      names.set(cachedDataVersionTag(), name);
    }
    const now = () => names.get(cachedDataVersionTag());
    const collected = async () => {
      globalThis.gc();
      const before = now();
      for (let turn = 0; turn < 1_000 && now() === before; turn++) await setImmediate();
      return now();
    };
    keepOldGenerationTight();
    const found = [now()];
    let kept = Array.from({ length: 3_000_000 }, (_, i) => ({ i, next: {} }));
    found.push(await collected());
    kept = undefined;
    found.push(await collected());
    letOldGenerationGrow();
    found.push(now());
    console.log(JSON.stringify(found));`;
  const argv = [...lean.flags, "--expose-gc", "--input-type=module", "--eval", script];
  return JSON.parse(execFileSync(process.execPath, argv, { encoding: "utf8" })) as string[];
}

it("an old generation that is large anyway is collected seldom, for as long as it is", () => {
  expect(growths()).toEqual(["tight", "seldom", "tight", "as V8 likes"]);
  expect([10, 99, 199, 200, 350].map((mib) => growthAfter(mib * 2 ** 20))).toEqual([
    { percent: 80, reducerDelayMs: 8_000 },
    { percent: 80, reducerDelayMs: 8_000 },
    { percent: 80, reducerDelayMs: 2 ** 31 - 1 },
    { percent: 0, reducerDelayMs: 2 ** 31 - 1 },
    { percent: 0, reducerDelayMs: 2 ** 31 - 1 },
  ]);
});
