import { expect, it } from "vitest";
import { readArguments } from "./arguments.ts";
import { faultNames } from "./faults.ts";
import { runWorld } from "./world.ts";

const steps = 2_000;
const seeds = Number(process.env["SIM_SEEDS"] ?? 200);
/** The same worlds with every run: a red run speaks of the change at hand. `npm run sim -- --seeds` explores others. */
const first = Number(process.env["SIM_SEED"] ?? 1);

it(`no check fails in ${seeds} worlds from seed ${first} on, and every kind of fault strikes`, {
  timeout: 600_000,
}, async () => {
  const struck = new Map<string, number>(faultNames.map((fault) => [fault, 0]));
  let acknowledged = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    const outcome = await runWorld({ seed, steps });
    for (const [fault, times] of outcome.struck) struck.set(fault, (struck.get(fault) ?? 0) + times);
    acknowledged += outcome.acknowledged;
    const again = `npm run sim -- --seed ${seed} --steps ${steps}`;
    expect(
      outcome.violation,
      `${outcome.trace}\n\nseed ${seed}: ${outcome.violation}\nagain: ${again}\n`,
    ).toBeUndefined();
  }
  const counts = [...struck].map(([fault, times]) => `${fault} ${times}`).join(", ");
  console.log(`simulation: ${seeds} worlds from seed ${first}, ${acknowledged} writes acknowledged; ${counts}`);
  expect([...struck].filter(([, times]) => times === 0)).toEqual([]);
  expect(acknowledged).toBeGreaterThan(seeds * 50);
});

it("the same seed makes the same world", async () => {
  const [once, again] = [await runWorld({ seed: 4, steps: 600 }), await runWorld({ seed: 4, steps: 600 })];
  expect(again).toEqual(once);
  expect((await runWorld({ seed: 5, steps: 600 })).events).not.toBe(once.events);
});

it("the command line refuses what it does not know, naming it", () => {
  expect(readArguments(["--seed", "42", "--steps", "100000"])).toMatchObject({
    t: "ok",
    seed: 42,
    steps: 100_000,
    seeds: 1,
  });
  expect(readArguments(["--seed", "x"])).toMatchObject({ t: "bad", explain: expect.stringContaining("--seed x") });
  expect(readArguments(["--mutant", "none"])).toMatchObject({
    t: "bad",
    explain: expect.stringContaining('"two votes in a term"'),
  });
});
