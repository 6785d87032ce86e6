import { describe, expect, it } from "vitest";
import { atOnce, FakeClock, filterInSteps, inSteps, Pacer, pacedTurn, setInSteps } from "./index.ts";

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

it("a slice that begins after a wait does not hold the wait", () => {
  const clock = new WorkClock();
  const pacer = new Pacer(clock);
  clock.workedMs += 1_000;
  pacer.begin();
  expect(pacer.due).toBe(false);
  clock.workedMs += 5;
  expect(pacer.due).toBe(true);
});

describe("pacedTurn", () => {
  const loopTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

  it("gives all that wait one turn, in order, as long as that is no longer than a slice", async () => {
    const clock = new WorkClock();
    const turns: string[] = [];
    let turn = 0;
    const work = async (name: string, ms: number) => {
      for (let step = 0; step < 2; step++) {
        await pacedTurn(clock);
        turns.push(`${turn}${name}`);
        clock.workedMs += ms;
      }
    };
    const works = Promise.all([work("a", 2), work("b", 4), work("c", 1)]);
    while (turns.length < 6) {
      await loopTurn();
      turn++;
    }
    await works;
    expect(turns).toEqual(["1a", "1b", "2c", "2a", "2b", "3c"]);
  });

  it("says when the turn began, so that what others took of it counts", async () => {
    const clock = new WorkClock();
    const [first, second] = [new Pacer(clock), new Pacer(clock)];
    const both = Promise.all([first.turn().then(() => (clock.workedMs += 4)), second.turn()]);
    await both;
    expect(second.due).toBe(false);
    clock.workedMs += 1;
    expect(second.due).toBe(true);
  });
});
