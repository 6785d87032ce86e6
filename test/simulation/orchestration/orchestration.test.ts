import { expect, it } from "vitest";
import { againCommand, readOrchestrationArguments } from "./main.ts";
import { runWorld } from "./world.ts";

const worlds = Number(process.env["SIM_WORLDS"] ?? 8);
/** The same worlds with every run: a red run speaks of the change at hand. `npm run sim -- --orchestration` explores others. */
const first = Number(process.env["SIM_SEED"] ?? 1);

async function equalSpecs(options: Parameters<typeof runWorld>[0]): Promise<void> {
  const { violations, trace } = await runWorld(options);
  expect(violations, `${trace.join("\n")}\n\nagain: ${againCommand(options)}\n`).toEqual([]);
}

it.each([worlds])("tasks come to equal specs in %i worlds", { timeout: 240_000 }, async (count) => {
  for (let seed = first; seed < first + count; seed++) await equalSpecs({ seed, steps: 160, nodes: 8, tasks: 80 });
});

it("and in one of 50 nodes and 1,000 tasks", { timeout: 240_000 }, async () => {
  await equalSpecs({ seed: first, steps: 80, nodes: 50, tasks: 1_000 });
});

it("the same seed makes the same world", { timeout: 60_000 }, async () => {
  const options = { seed: 4, steps: 40, nodes: 6, tasks: 40 };
  const [once, again] = [await runWorld(options), await runWorld(options)];
  expect(again).toEqual(once);
  expect((await runWorld({ ...options, seed: 5 })).trace).not.toEqual(once.trace);
});

it("the command line refuses what it does not know, naming it", () => {
  expect(
    readOrchestrationArguments(["--orchestration", "--seed", "42", "--nodes", "1000", "--tasks", "100000"]),
  ).toEqual({
    t: "ok",
    world: { seed: 42, steps: 160, nodes: 1_000, tasks: 100_000 },
    seeds: 1,
    hunted: [],
  });
  expect(readOrchestrationArguments(["--nodes", "x"])).toMatchObject({
    t: "bad",
    explain: expect.stringContaining("--nodes x"),
  });
  expect(readOrchestrationArguments(["--mutant", "none"])).toMatchObject({
    t: "bad",
    explain: expect.stringContaining("--mutant none"),
  });
});
