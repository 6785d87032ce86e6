import { expect, it } from "vitest";
import { measurePace, paceOf } from "./pace.ts";

it("a slow machine's pace is by its fastest run, and none is below that of a common one", () => {
  expect(paceOf([900, 195, 260])).toBe(3);
  expect(paceOf([20, 30])).toBe(1);
});

it("a pace can be measured here", () => {
  expect(measurePace()).toSatisfy((pace: number) => pace >= 1 && pace < 1_000);
});
