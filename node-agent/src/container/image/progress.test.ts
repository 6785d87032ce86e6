import { FakeClock } from "@starling/base";
import { expect, it } from "vitest";
import { PullProgress } from "./progress.ts";

it("tells seldom, however many bytes come", async () => {
  const clock = new FakeClock();
  const progress = new PullProgress(clock);
  const told: string[] = [];
  const unlisten = progress.listen((message) => told.push(message));
  progress.expect(1_000);
  progress.add(400);
  expect(told).toEqual([]);
  await clock.advance(2_000);
  progress.add(5);
  expect(told).toEqual(["pulling 40 %"]);
  await clock.advance(2_000);
  progress.add(5);
  expect(told).toEqual(["pulling 40 %"]);
  progress.add(190);
  progress.add(300);
  expect(told).toEqual(["pulling 40 %", "pulling 60 %"]);
  await clock.advance(2_000);
  unlisten();
  progress.add(100);
  expect(told).toHaveLength(2);
});
