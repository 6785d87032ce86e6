import { expect, it } from "vitest";
import { runWorld } from "./world.ts";

const worlds = Number(process.env["SIM_WORLDS"] ?? 4);
/** The same worlds with every run: a red run speaks of the change at hand. `main.ts` beside explores others. */
const first = Number(process.env["SIM_SEED"] ?? 1);

it.each([worlds])("tasks come to equal specs in %i worlds", { timeout: 240_000 }, async (count) => {
  for (let seed = first; seed < first + count; seed++) {
    const outcome = await runWorld({ seed, hosts: 8, services: 8, replicasMax: 8, steps: 160 });
    const again = `node test/simulation/orchestration/main.ts --seed ${seed} --hosts 8 --services 8 --replicas 8 --steps 160`;
    expect(outcome.violations, `${outcome.trace.join("\n")}\n\nagain: ${again}\n`).toEqual([]);
  }
});
