/**
 * Every step: `node node-agent/src/survive/main.ts [--from N] [--stride N] [--victim swarmd|shim|both]`, as root. Says what was killed where when
 * that led to anything wrong; exit status 1 when something did.
 */
import { parseArgs } from "node:util";
import { KillStage, type Victim, victims } from "./kills.ts";

const { values } = parseArgs({
  options: {
    from: { type: "string", default: "1" },
    stride: { type: "string", default: "1" },
    victim: { type: "string" },
    verbose: { type: "boolean", default: false },
  },
});
const [from, stride] = [Number(values.from), Number(values.stride)];
if (!Number.isInteger(from) || !Number.isInteger(stride) || from < 1 || stride < 1) {
  throw new Error("--from and --stride: whole numbers from 1");
}
const chosen: readonly Victim[] = victims.filter((victim) => values.victim === undefined || values.victim === victim);
if (chosen.length === 0) throw new Error(`--victim ${values.victim}: one of ${victims.join(", ")}`);

const stage = await KillStage.open();
let bad = 0;
try {
  for (const victim of chosen) {
    let kills = 0;
    let next = stage.begin({ victim, step: from });
    for (let step = from; ; step += stride) {
      const life = next;
      next = stage.begin({ victim, step: step + stride });
      const { killedAt, problems } = await stage.play(life);
      if (values.verbose) console.log(`${victim}, ${killedAt}`);
      if (problems.length > 0) console.log(`${victim}, ${killedAt}:\n  ${problems.join("\n  ")}`);
      if (problems.length > 0) bad++;
      if (killedAt === undefined) break;
      kills++;
    }
    await stage.forget(next);
    console.log(`${victim}: killed at ${kills} steps`);
  }
} finally {
  await stage.close();
}
process.exitCode = bad === 0 ? 0 : 1;
