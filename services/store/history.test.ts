import fc from "fast-check";
import { expect, it } from "vitest";
import { History } from "./history.ts";
import type { ObjectEvent } from "./objects.ts";

const CHANGES_MAX = 5;

const changesOf = (count: number) => Array.from({ length: count }, () => ({}) as ObjectEvent);

it("gives exactly the commits after a version, or nothing when one of them is gone", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 3000 }), fc.nat(3000), (sizes, from) => {
      const history = new History(CHANGES_MAX);
      sizes.forEach((size, i) => {
        history.add({ changes: changesOf(size), version: i + 1 });
      });
      const expected = sizes.map((_, i) => i + 1).slice(from);
      const missedChanges = sizes.slice(from).reduce((sum, size) => sum + size, 0);
      const versions = history.after(from)?.map(({ version }) => version);
      if (missedChanges <= CHANGES_MAX || from >= sizes.length - 1) expect(versions).toEqual(expected);
      else expect(versions).toBeUndefined();
    }),
  );
});

it("knows nothing between the replacement of its state and the next commit", () => {
  const history = new History(CHANGES_MAX);
  history.add({ changes: [], version: 1 });
  history.forget();
  expect(history.after(1)).toBeUndefined();
  history.add({ changes: [], version: 9 });
  history.add({ changes: [], version: 10 });
  expect(history.after(8)).toBeUndefined();
  expect(history.after(9)).toEqual([{ changes: [], version: 10 }]);
});
