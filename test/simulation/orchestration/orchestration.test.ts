import { expect, it } from "vitest";
import { runWorld } from "./world.ts";

const worlds = Number(process.env["SIM_WORLDS"] ?? 4);
/** Other worlds with every run of the tests; a failure names the seed. */
const first = Number(process.env["SIM_SEED"] ?? Math.floor(Math.random() * 1_000_000));

it.each([worlds])("tasks come to equal specs in %i worlds", { timeout: 240_000 }, async (count) => {
  for (let seed = first; seed < first + count; seed++) {
    const outcome = await runWorld({ seed, hosts: 8, services: 8, replicasMax: 8, steps: 160 });
    const again = `node test/simulation/orchestration/main.ts --seed ${seed} --hosts 8 --services 8 --replicas 8 --steps 160`;
    expect(outcome.violations, `${outcome.trace.join("\n")}\n\nagain: ${again}\n`).toEqual([]);
  }
});
