import type { Host } from "../../cluster/index.ts";
import { arm } from "./driver-client.ts";
import type { CaseName, Figures } from "./figures.ts";
import { now, roleName, type Stage } from "./stage.ts";

/** A swarm of one, a worker, a second manager; from the start of the process, all over again for each run. */
export async function measureJoins(stage: Stage, figures: Figures): Promise<void> {
  const [m1, m2, w1] = [stage.host("m1"), stage.host("m2"), stage.host("w1")];
  for (let i = 0; i < stage.runs; i++) {
    for (const host of [m1, m2, w1]) await stage.renew(host);
    const time = async (name: CaseName, host: Host, via?: Host, token?: string) => {
      const armed = await arm<{ readyAt: number }>(via ?? host, "join", host.name, roleName(host));
      const begin = now();
      await stage.swarm.startNode(host, via, token);
      figures.addMs(name, (await armed.result).readyAt - begin);
    };
    await time("init", m1);
    const worker = await stage.swarm.joinToken("worker", m1);
    const manager = await stage.swarm.joinToken("manager", m1);
    await time("worker joins", w1, m1, worker);
    await time("manager joins", m2, m1, manager);
  }
}
