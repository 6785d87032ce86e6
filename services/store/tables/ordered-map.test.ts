import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OrderedMap } from "./ordered-map.ts";

/** Few characters, so that keys share beginnings; some that need more than a byte. */
const characters = ["\0", "\x01", "0", "a", "b", "\xfe", "\xff", "\u0100", "\u0101", "\uffff"];
const key = fc.oneof(
  fc.array(fc.constantFrom(...characters), { maxLength: 9 }).map((parts) => parts.join("")),
  fc.nat(400).map((n) => `task${n}`),
);
const step = fc.record({ t: fc.constantFrom("set", "set", "delete"), key, value: fc.nat(5) });

const inOrder = (a: string, b: string) => (a < b ? -1 : Number(a > b));

function check(map: OrderedMap<number>, model: ReadonlyMap<string, number>, prefix: string): void {
  const keys = [...model.keys()].sort(inOrder);
  const prefixed: string[] = [];
  map.forPrefix(prefix, (value, found) => {
    expect(value).toBe(model.get(found));
    prefixed.push(found);
  });
  expect(map.size).toBe(model.size);
  expect(map.values()).toEqual(keys.map((each) => model.get(each)));
  expect([...map.parts()].flat()).toEqual(map.values());
  expect(prefixed).toEqual(keys.filter((each) => each.startsWith(prefix)));
  for (const each of keys) expect(map.get(each)).toBe(model.get(each));
  expect(map.get(`${prefix}?`)).toBe(model.get(`${prefix}?`));
}

describe("OrderedMap", () => {
  it("is what a sorted plain map is, in every version ever made", () => {
    const edits = fc.array(fc.array(step, { maxLength: 120 }), { maxLength: 12 });
    fc.assert(
      fc.property(edits, key, (versions, prefix) => {
        let map = OrderedMap.empty<number>({});
        let model = new Map<string, number>();
        const kept: [OrderedMap<number>, Map<string, number>][] = [];
        for (const steps of versions) {
          map = map.edit({});
          model = new Map(model);
          for (const { t, key: at, value } of steps) {
            if (t === "set") map.set(at, value);
            else map.delete(at);
            if (t === "set") model.set(at, value);
            else model.delete(at);
          }
          kept.push([map, model]);
        }
        for (const [each, expected] of kept) check(each, expected, prefix);
      }),
    );
  });

  it("grows and shrinks by thousands of keys, in order, backwards and at random", () => {
    const ascending = Array.from({ length: 5_000 }, (_, n) => `k${String(n).padStart(5, "0")}`);
    const shuffled = fc.sample(fc.shuffledSubarray(ascending, { minLength: 5_000 }), { numRuns: 1, seed: 7 })[0]!;
    for (const added of [ascending, ascending.toReversed(), shuffled]) {
      for (const removed of [ascending, ascending.toReversed(), shuffled]) {
        const map = OrderedMap.empty<number>({});
        added.forEach((each, at) => void map.set(each, at));
        check(map, new Map(added.map((each, at) => [each, at])), "k000");
        for (const each of removed.slice(0, 4_900)) map.delete(each);
        const left = new Set(removed.slice(4_900));
        check(
          map,
          new Map([...added.entries()].filter(([, each]) => left.has(each)).map(([at, each]) => [each, at])),
          "k",
        );
        for (const each of left) map.delete(each);
        expect(map.size).toBe(0);
      }
    }
  });
});
