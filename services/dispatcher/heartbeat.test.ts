import { expect, it } from "vitest";
import { choosePeriod } from "./heartbeat.ts";

it("a heartbeat's period is chosen anew each time, within a tenth of the cluster's", () => {
  expect([0, 0.5, 1].map((random) => Math.round(choosePeriod(5_000, random)))).toEqual([4_500, 5_000, 5_500]);
});
