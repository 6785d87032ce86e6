import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Load, planMove } from "./plan.ts";

interface Named extends Load {
  readonly id: string;
}

/** `a2` has two tasks, `a2+` takes more, `a2-` gives none; `x/a2+` is in zone x. */
function load(text: string): Named {
  const [, path = "", id = "", tasks = "0", how = ""] = /^(?:(.*)\/)?([a-z]+)(\d+)([+-]*)$/.exec(text) ?? [];
  const values = path === "" ? [] : path.split("/");
  return { id, values, tasks: Number(tasks), takes: how.includes("+"), gives: Number(tasks) > 0 && !how.includes("-") };
}

function moveOf(...texts: string[]): string {
  const move = planMove(texts.map(load));
  return move === undefined ? "none" : `${move.from.id}>${move.to.id}`;
}

describe("a move", () => {
  it.each([
    ["goes from the most loaded node to the least loaded one", ["a3", "b2+", "c0+", "d4"], "d>c"],
    ["is not made between nodes that differ by one", ["a3", "b2+", "c3+"], "none"],
    ["is not made to a node without room", ["a5", "b0", "c4+"], "none"],
    ["goes from the next one where the most loaded gives none", ["a5-", "b3", "c1+"], "b>c"],
    ["evens out the values of a preference first", ["x/a2", "x/b2", "y/c2+", "y/d0"], "a>c"],
    ["then the nodes of one value", ["x/a3", "x/b1+", "y/c2", "y/d2"], "a>b"],
    ["does not make values uneven for even nodes", ["x/a4", "y/b2", "y/c2", "z/d1+", "z/e3"], "e>d"],
    ["goes from the fullest node of the fullest value", ["x/a1", "x/b4", "y/c0+", "y/d1+"], "b>c"],
    ["counts each of nested preferences", ["x/p/a4", "x/q/b1+", "y/p/c2", "y/q/d3"], "a>b"],
  ])("%s", (_what, loads, move) => {
    expect(moveOf(...loads)).toBe(move);
  });
});

/** Sums of squares of the counts, level by level from the top. */
function unevenness(loads: readonly Load[]): number[] {
  const levels = loads[0]?.values.length ?? 0;
  return Array.from({ length: levels + 1 }, (_, level) => {
    const counts = new Map<string, number>();
    loads.forEach(({ values, tasks }, node) => {
      const key = level === levels ? String(node) : values.slice(0, level + 1).join("/");
      counts.set(key, (counts.get(key) ?? 0) + tasks);
    });
    return [...counts.values()].reduce((sum, count) => sum + count ** 2, 0);
  });
}

/** The first level that differs became lower. */
function isLower(after: readonly number[], before: readonly number[]): boolean {
  const at = after.findIndex((value, level) => value !== before[level]);
  return at >= 0 && after[at]! < before[at]!;
}

/** How many tasks more `from` has than `to`, or its value has at the first level where they have others. */
function apart(loads: readonly Load[], from: Load, to: Load): number {
  const level = from.values.findIndex((value, at) => value !== to.values[at]);
  const tasksLike = ({ values }: Load) =>
    loads
      .filter((each) => values.slice(0, level + 1).every((value, at) => value === each.values[at]))
      .reduce((sum, { tasks }) => sum + tasks, 0);
  return level < 0 ? from.tasks - to.tasks : tasksLike(from) - tasksLike(to);
}

const moved = (loads: readonly Load[], from: Load, to: Load): Load[] =>
  loads.map((each) => {
    const tasks = each.tasks - Number(each === from) + Number(each === to);
    return { ...each, tasks, gives: each.gives && tasks > 0 };
  });

describe("moves", () => {
  it("each make the spread more even, and end when no two nodes, or values, differ by two", () => {
    const node = fc.record({ values: fc.array(fc.constantFrom("x", "y", "z"), { minLength: 2, maxLength: 2 }) });
    const loads = fc.array(
      fc.tuple(node, fc.nat(9), fc.boolean(), fc.boolean()).map(([{ values }, tasks, takes, gives]) => ({
        values,
        tasks,
        takes,
        gives: gives && tasks > 0,
      })),
      { maxLength: 9 },
    );
    fc.assert(
      fc.property(loads, fc.nat(2), (full, levels) => {
        let now: Load[] = full.map((each) => ({ ...each, values: each.values.slice(0, levels) }));
        for (let move = planMove(now); move !== undefined; move = planMove(now)) {
          expect(move.from.gives && move.to.takes).toBe(true);
          const next = moved(now, move.from, move.to);
          expect(unevenness(next)).toSatisfy((after: number[]) => isLower(after, unevenness(now)));
          now = next;
        }
        for (const from of now.filter(({ gives }) => gives)) {
          for (const to of now.filter(({ takes }) => takes)) expect(apart(now, from, to)).toBeLessThan(2);
        }
      }),
      { seed: 5, numRuns: 500 },
    );
  });
});
