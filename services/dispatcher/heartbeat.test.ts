import { expect, it } from "vitest";
import { choosePeriod, periodOf } from "./heartbeat.ts";

it("a heartbeat's period is chosen anew each time, within a tenth of the cluster's", () => {
  expect([0, 0.5, 1].map((random) => Math.round(choosePeriod(5_000, random)))).toEqual([4_500, 5_000, 5_500]);
});

it("the period is what the cluster wants, until that would be more than 1,100 beats a second", () => {
  expect([periodOf(1_000, 3), periodOf(1_000, 1_100), periodOf(1_000, 11_000), periodOf(15_000, 11_000)]).toEqual([
    1_000, 1_000, 10_000, 15_000,
  ]);
});
