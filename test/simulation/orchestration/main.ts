import { parseArgs } from "node:util";
import { runWorld } from "./world.ts";

// node test/simulation/orchestration/main.ts --seed S [--seeds K] [--hosts N] [--services N] [--replicas N] [--steps N]

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    seeds: { type: "string", default: "1" },
    hosts: { type: "string", default: "12" },
    services: { type: "string", default: "12" },
    replicas: { type: "string", default: "12" },
    steps: { type: "string", default: "400" },
  },
});
const number = (text: string) => {
  if (!/^\d+$/.test(text)) throw new Error(`"${text}": give a whole number`);
  return Number(text);
};
const first = number(values.seed);
for (let seed = first; seed < first + number(values.seeds); seed++) {
  const started = performance.now();
  const outcome = await runWorld({
    seed,
    hosts: number(values.hosts),
    services: number(values.services),
    replicasMax: number(values.replicas),
    steps: number(values.steps),
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (outcome.violations.length > 0) {
    console.error(outcome.trace.slice(-60).join("\n"));
    console.error(`\nseed ${seed}:\n${outcome.violations.join("\n")}`);
    process.exit(1);
  }
  console.log(`seed ${seed}: ${outcome.tasks} tasks, ${outcome.trace.length} events, ${seconds} s`);
}
