import { expect, it } from "vitest";
import { reachesTarget, renderRows, rowOf } from "./types.ts";

const lower = { bench: "b", case: "c", unit: "ms", better: "lower" } as const;

it("takes the median of odd and even counts, with the extremes", () => {
  expect(rowOf(lower, [3, 1, 2])).toMatchObject({ value: 2, min: 1, max: 3, count: 3 });
  expect(rowOf(lower, [4, 1, 2, 10])).toMatchObject({ value: 3, min: 1, max: 10, count: 4 });
  expect(() => rowOf(lower, [])).toThrow("bench b, case c: no value was measured");
});

it("compares with the target in the row's direction", () => {
  expect(reachesTarget(rowOf({ ...lower, target: 2 }, [2]))).toBe(true);
  expect(reachesTarget(rowOf({ ...lower, target: 2 }, [2.1]))).toBe(false);
  expect(reachesTarget(rowOf({ ...lower, better: "higher", target: 2 }, [2.1]))).toBe(true);
  expect(reachesTarget(rowOf({ ...lower, better: "higher", target: 2 }, [1.9]))).toBe(false);
});

it("prints a table that marks what was missed", () => {
  const rows = [
    rowOf({ ...lower, target: 1, other: { name: "crun", value: 43.21 } }, [12345.6]),
    rowOf(lower, [0.12345]),
  ];
  expect(renderRows(rows)).toBe(
    [
      "bench  case  median  min    max    runs  unit  target    other",
      "b      c     12346   12346  12346  1     ms    1 MISSED  43.2 crun",
      "b      c     0.123   0.123  0.123  1     ms",
    ].join("\n"),
  );
});
