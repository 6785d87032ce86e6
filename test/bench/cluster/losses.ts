import type { Host } from "../../cluster/index.ts";
import { type Armed, arm } from "./driver-client.ts";
import type { CaseName, Figures } from "./figures.ts";
import { now, type Stage } from "./stage.ts";
import { swarmdOf } from "./usage.ts";

interface Loss {
  readonly downAt: number;
  readonly runningAt: number;
}

/** When each accepted write began and ended, epoch milliseconds. */
type Writes = readonly (readonly [beganAt: number, endedAt: number])[];

const replicas = 10;

export async function measureWorkerLost(stage: Stage, figures: Figures): Promise<void> {
  const lost = stage.host("w1");
  for (let i = 0; i < stage.failures; i++) {
    await beginAnew(stage);
    await stage.create("lost", replicas);
    const armed = await arm<Loss>(await stage.leader(), "loss", lost.name, "lost", String(replicas));
    const begin = now();
    await lost.kill();
    const { downAt, runningAt } = await armed.result;
    figures.addMs("worker's host killed: shown down", downAt - begin);
    figures.addMs("worker's host killed: its tasks running elsewhere", runningAt - begin);
    await bringBack(stage, lost);
  }
}

/** The leader's process alone. */
export async function measureLeaderLost(stage: Stage, figures: Figures): Promise<void> {
  for (let i = 0; i < stage.failures; i++) {
    const leader = await stage.leader();
    const writer = await arm<Writes>(stage.otherManager(leader), "write");
    const begin = now();
    process.kill(swarmdOf(leader), "SIGKILL");
    await addNextWrite(writer, begin, "leader killed: next write accepted", figures);
    await stage.swarm.startNode(leader);
    await stage.settled(leader);
  }
}

export async function measureLeaderHostLost(stage: Stage, figures: Figures): Promise<void> {
  for (let i = 0; i < stage.failures; i++) {
    await beginAnew(stage);
    const leader = await stage.leader();
    const witness = stage.otherManager(leader);
    await stage.create("lost", replicas);
    const writer = await arm<Writes>(witness, "write");
    const armed = await arm<Loss>(witness, "loss", leader.name, "lost", String(replicas));
    const begin = now();
    await leader.kill();
    await addNextWrite(writer, begin, "leader's host killed: next write accepted", figures);
    figures.addMs("leader's host killed: its tasks running elsewhere", (await armed.result).runningAt - begin);
    await bringBack(stage, leader);
  }
}

/** The writer ends with the first write that began after the loss and was accepted. */
async function addNextWrite(writer: Armed<Writes>, lostAt: number, name: CaseName, figures: Figures): Promise<void> {
  writer.stop();
  const next = (await writer.result).find(([beganAt]) => beganAt > lostAt);
  if (next) figures.addMs(name, next[1] - lostAt);
}

/** A swarm that has lost no host yet: one that is lost again and again is held back at its return. */
async function beginAnew(stage: Stage): Promise<void> {
  await stage.begin();
  await stage.warmUp();
}

/** A killed host back in the swarm, and the service gone. */
async function bringBack(stage: Stage, host: Host): Promise<void> {
  await stage.swarm.restart(host);
  await stage.settled(host);
  await stage.remove("lost");
}
