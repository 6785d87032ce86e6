import fc from "fast-check";
import { expect, it } from "vitest";
import { newId } from "./ids.ts";
import { LargeMap, shardOf } from "./large-map.ts";

it("holds what a Map holds, whatever comes and goes", () => {
  const key = fc.oneof(fc.string({ maxLength: 4 }), fc.nat(50).map(String));
  fc.assert(
    fc.property(fc.array(fc.record({ key, put: fc.boolean(), value: fc.nat() })), (steps) => {
      const [large, map] = [new LargeMap<number>(), new Map<string, number>()];
      for (const { key, put, value } of steps) {
        if (put) {
          large.set(key, value);
          map.set(key, value);
        } else expect(large.delete(key)).toBe(map.delete(key));
        expect({ size: large.size, has: large.has(key), get: large.get(key) }).toEqual({
          size: map.size,
          has: map.has(key),
          get: map.get(key),
        });
      }
      expect([...large.values()].sort()).toEqual([...map.values()].sort());
    }),
  );
});

it.each([
  ["drawn", (n: number) => newId((count) => Buffer.from(`${n * 7_919}`.padStart(count, "x")))],
  ["counted", (n: number) => `task${n}`],
])("spreads ids that are %s", (_, idOf) => {
  const counts = new Map<number, number>();
  for (let n = 0; n < 6_400; n++) counts.set(shardOf(idOf(n)), (counts.get(shardOf(idOf(n))) ?? 0) + 1);
  // A hundred each, when all are alike.
  expect(counts.size).toBe(64);
  expect(Math.max(...counts.values())).toBeLessThan(250);
});
