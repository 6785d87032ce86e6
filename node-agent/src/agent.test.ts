import { expect, it } from "vitest";
import { nextBackoff } from "./agent.ts";

it("a session is tried again after longer and longer pauses, a second at most", () => {
  const bounds = [nextBackoff(0)];
  while (bounds.length < 6) bounds.push(nextBackoff(bounds.at(-1)!));
  expect(bounds).toEqual([50, 150, 350, 750, 1_000, 1_000]);
});
