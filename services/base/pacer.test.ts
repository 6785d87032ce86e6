import { describe, expect, it } from "vitest";
import { atOnce, FakeClock, filterInSteps, inSteps, Pacer, setInSteps } from "./index.ts";

/** A clock on which every item of the work takes a millisecond. */
class WorkClock extends FakeClock {
  workedMs = 0;
  override monotonic(): number {
    return this.workedMs;
  }
}

describe("steps", () => {
  it("give the same at once as with pauses", () => {
    const numbers = Array.from({ length: 1_000 }, (_, i) => i);
    expect(atOnce(filterInSteps(numbers, (n) => n % 2 === 0))).toHaveLength(500);
    expect([...atOnce(setInSteps(numbers, (n) => n % 10))]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("may be paused every now and then", () => {
    let visited = 0;
    let before = 0;
    const steps = inSteps(Array.from({ length: 1_000 }).keys(), () => visited++);
    for (let step = steps.next(); !step.done; step = steps.next()) {
      expect(visited - before).toBeLessThanOrEqual(128);
      before = visited;
    }
    expect(visited).toBe(1_000);
  });
});

describe("Pacer", () => {
  it("gives the event loop its turn between slices, and tells how long the work took", async () => {
    const clock = new WorkClock();
    const pacer = new Pacer(clock);
    let others = 0;
    let done = false;
    const other = () => {
      if (done) return;
      others++;
      clock.workedMs += 100;
      setImmediate(other);
    };
    setImmediate(other);
    const { workedMs } = await pacer.run(inSteps(Array.from({ length: 1_000 }), () => clock.workedMs++));
    done = true;
    expect(others).toBeGreaterThanOrEqual(7);
    expect(workedMs).toBe(1_000);
  });
});
