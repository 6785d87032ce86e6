import { defaultDamping } from "@starling/api";
import { describe, expect, it } from "vitest";
import { holdBackMs, type Losses, noteLoss } from "./flapping.ts";

const minute = 60_000;
const lostAt = (...times: readonly number[]) =>
  times.reduce<Losses>((losses, at) => noteLoss(losses, at, defaultDamping), []);

describe("a node that comes back", () => {
  it("is held back from the third loss within ten minutes on, longer each time, five minutes at most", () => {
    const held = [1, 2, 3, 4, 5, 6, 7, 8].map((count) => {
      const losses = lostAt(...Array.from({ length: count }, (_, at) => at * 1_000));
      return holdBackMs(losses, 10_000, defaultDamping);
    });
    expect(held).toEqual([0, 0, 30_000, 60_000, 120_000, 240_000, 300_000, 300_000]);
  });

  it("has its losses forgotten when they are ten minutes old", () => {
    const losses = lostAt(0, minute, 2 * minute);
    expect(holdBackMs(losses, 9 * minute, defaultDamping)).toBe(30_000);
    expect(holdBackMs(losses, 10 * minute, defaultDamping)).toBe(0);
    expect(noteLoss(losses, 11 * minute, defaultDamping)).toEqual([2 * minute, 11 * minute]);
  });

  it("is held back as the settings say", () => {
    const losses = lostAt(0, 1, 2);
    expect(holdBackMs(losses, 3, { ...defaultDamping, losses: 4 })).toBe(0);
    expect(holdBackMs(losses, 3, { ...defaultDamping, losses: 1 })).toBe(120_000);
    expect(holdBackMs(losses, 3, { ...defaultDamping, windowMs: 2 })).toBe(0);
    expect(holdBackMs(losses, 3, { ...defaultDamping, holdMs: 5_000 })).toBe(5_000);
    expect([{ losses: 0 }, { holdMs: 0 }].map((off) => holdBackMs(losses, 3, { ...defaultDamping, ...off }))).toEqual([
      0, 0,
    ]);
  });
});
