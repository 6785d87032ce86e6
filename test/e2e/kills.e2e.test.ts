import { readFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom } from "@starling/base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Host, repositoryRoot, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

const node = join(repositoryRoot, "node_modules/.bin/node");
const writerProgram = join(repositoryRoot, "test/demo/writer.ts");
const kills = 50;
const pauseMsMax = 2_500;

/** Writers run on two managers while swarmd is killed on any of the three, at random moments, and started again at once. */
describe(`${kills} kills of managers`, () => {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  let stage: Stage;
  let managers: readonly Host[];

  beforeAll(async () => {
    console.log(`seed ${seed}; again: SEED=${seed} vitest run --project hosts test/e2e/kills`);
    stage = await Stage.open("kills", ["m1", "m2", "m3"]);
    managers = stage.swarm.members();
  });
  afterAll(() => stage?.close());

  const fileOf = (host: Host) => join(host.stateFolder, "written.txt");
  const acknowledgedAt = (host: Host) =>
    readFileSync(fileOf(host), "utf8")
      .split("\n")
      .filter((line) => line !== "");

  async function startWriter(host: Host): Promise<() => Promise<void>> {
    const pid = await host.daemon("writer", [node, writerProgram, "/run/swarmd.sock", "/var/lib/swarmd/written.txt"]);
    await until(`the writer on ${host.name} writes`, () => acknowledgedAt(host).length > 0);
    return async () => {
      await host.mustExec(["kill", String(pid)]);
      await until("the writer has ended", async () => (await host.exec(["test", "-e", `/proc/${pid}`])).code !== 0);
    };
  }

  /** Configs in the store of a manager itself: reads through its API are answered by the leader. */
  async function stored(host: Host): Promise<number> {
    const text = await host.mustExec(["curl", "-sf", "-m", "3", `http://${host.address}:9090/metrics`]);
    return Number(/^swarm_manager_configs_total (\d+)$/m.exec(text)?.[1]);
  }

  it("lose no acknowledged write", { timeout: 400_000 }, async () => {
    stage.showLogsOnFailure();
    const writing = managers.slice(0, 2);
    const stopWriters = await Promise.all(writing.map(startWriter));
    const trace: string[] = [];
    for (let kill = 0; kill < kills; kill++) {
      // The pause is the random moment, not a wait for something.
      const pauseMs = Math.floor(random() * pauseMsMax);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      const victim = managers[Math.floor(random() * managers.length)]!;
      trace.push(`${victim.name} after ${pauseMs} ms`);
      await stage.swarm.endNode(victim);
      await stage.swarm.startNode(victim);
    }
    await stage.swarm.ready(managers, { timeoutMs: 60_000 });
    for (const stop of stopWriters) await stop();

    const acknowledged = writing.flatMap(acknowledgedAt);
    console.log(`${kills} kills, ${acknowledged.length} acknowledged writes`);
    expect(acknowledged.length, "the writers got somewhere").toBeGreaterThan(kills);
    for (const host of managers) {
      const rows = await stage.json<readonly { name: string }[]>(["config", "ls"], { on: host });
      const there = new Set(rows.map(({ name }) => name));
      const lost = acknowledged.filter((name) => !there.has(name));
      expect(lost, `lost on ${host.name}, seed ${seed}: ${trace.join(", ")}`).toEqual([]);
    }
    const counts = async () => Promise.all(managers.map(stored));
    await until("all managers store the same", async () => new Set(await counts()).size === 1, { timeoutMs: 30_000 });
  });
});
