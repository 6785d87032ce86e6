import { drive } from "./driver-client.ts";
import type { Figures } from "./figures.ts";
import { now, type Stage } from "./stage.ts";

interface Timed {
  readonly ms: number;
}

/** From the call of each to what `service ps` says. */
export async function measureServices(stage: Stage, figures: Figures): Promise<void> {
  for (let i = 0; i < stage.runs; i++) {
    for (const replicas of [1, 10, 50] as const) {
      const { callMs, runningMs } = await stage.create("many", replicas);
      if (replicas === 1) figures.addMs("service create, the call", callMs);
      figures.addMs(`create → ${replicas} running`, runningMs);
      await stage.remove("many");
    }
    const on = await stage.leader();
    await stage.create("many", 10);
    figures.addMs("scale 10 → 50 running", (await drive<Timed>(on, "scale", "many", "50")).ms);
    figures.addMs("50 → 10, containers gone", (await drive<Timed>(on, "scale", "many", "10")).ms);
    const update = await drive<Timed>(on, "update", "many", stage.images.tools.reference, "10");
    figures.addMs("rolling update of 10, one by one", update.ms);
    await stage.remove("many");
  }
}

/** Command lines, from the start of the process to its end. */
export async function measureCommands(stage: Stage, figures: Figures): Promise<void> {
  const on = await stage.leader();
  for (let i = 0; i < stage.runs; i++) {
    const create = ["service", "create", "--detach", "--quiet", "--name", `command-${i}`, "--replicas", "0"];
    let begin = now();
    await stage.swarm.mustCtl([...create, stage.images.busybox.reference], { on });
    figures.addMs("service create, the whole command", now() - begin);
    begin = now();
    await stage.swarm.mustCtl(["service", "ls"], { on });
    figures.addMs("service ls, the whole command", now() - begin);
  }
  for (let i = 0; i < stage.runs; i++) await stage.swarm.mustCtl(["service", "rm", `command-${i}`], { on });
}
