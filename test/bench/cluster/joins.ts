import { readFileSync } from "node:fs";
import type { Host } from "../../cluster/index.ts";
import { arm } from "./driver-client.ts";
import type { Figures } from "./figures.ts";
import { now, roleName, type Stage } from "./stage.ts";

/**
 * A swarm of one, a worker, a second manager, all over again for each run: from the start of the process, and from
 * swarmd's first words, when its program is loaded, as Docker's figures count from a daemon that runs.
 */
export async function measureJoins(stage: Stage, figures: Figures): Promise<void> {
  const [m1, m2, w1] = [stage.host("m1"), stage.host("m2"), stage.host("w1")];
  for (let i = 0; i < stage.runs; i++) {
    for (const host of [m1, m2, w1]) await stage.renew(host);
    const time = async (name: "init" | "worker joins" | "manager joins", host: Host, via?: Host, token?: string) => {
      const armed = await arm<{ readyAt: number }>(via ?? host, "join", host.name, roleName(host));
      const begin = now();
      await stage.swarm.startNode(host, via, token);
      const { readyAt } = await armed.result;
      figures.addMs(name, readyAt - startedAt(host));
      figures.addMs(`${name}, with swarmd's start`, readyAt - begin);
    };
    await time("init", m1);
    const worker = await stage.swarm.joinToken("worker", m1);
    const manager = await stage.swarm.joinToken("manager", m1);
    await time("worker joins", w1, m1, worker);
    await time("manager joins", m2, m1, manager);
  }
}

/** When swarmd on `host` said that it starts: wall-clock milliseconds, from its log. */
function startedAt(host: Host): number {
  const lines = readFileSync(host.logFile("swarmd"), "utf8").split("\n");
  const line = lines.findLast((each) => each.includes('msg="swarmd starts"'));
  const time = /^time=(\S+)/.exec(line ?? "")?.[1];
  if (time === undefined) throw new Error(`${host.name}: no line of its log says that swarmd starts`);
  return Date.parse(time);
}
