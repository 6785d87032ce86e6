import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** Longer than a node may be silent before it is shown as such. */
const silenceMs = 6_000;

/** What moves tasks is the loss of a host, not of its swarmd. */
describe("a worker falls silent", () => {
  let stage: Stage;
  let m1: Host;
  let w1: Host;

  beforeAll(async () => {
    stage = await Stage.open("silent", ["m1", "w1", "w2"]);
    m1 = stage.host("m1");
    w1 = stage.host("w1");
    await stage.create("web", ["--replicas", "6"], stage.image("web1"));
    await stage.running("web", 6);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const statusOf = async (host: Host) =>
    (await stage.swarm.nodes({ on: m1 })).find((row) => row.hostname === host.name)?.status;
  const becomes = (host: Host, status: string) =>
    until(`${host.name} is ${status}`, async () => (await statusOf(host)) === status, {
      timeoutMs: 60_000,
      periodMs: 100,
    });
  const processes = async (): Promise<readonly string[]> => {
    const rows = await stage.running("web", 6);
    return (await Promise.all(rows.map(async ({ id, node }) => `${id} ${node} ${await stage.pidOf(id)}`))).sort();
  };

  it.each(["KILL", "TERM"] as const)(
    "swarmd ends by SIG%s and is back 6 s later: no task is touched",
    async (signal) => {
      const before = await processes();
      await stage.swarm.endNode(w1, signal);
      await becomes(w1, "DISCONNECTED");
      // The silence itself is what is tested.
      await new Promise((resolve) => setTimeout(resolve, silenceMs));
      expect(await statusOf(w1)).toBe("DISCONNECTED");
      expect(await processes()).toEqual(before);
      await stage.swarm.startNode(w1);
      await stage.swarm.ready([w1], { on: m1 });
      expect(await processes()).toEqual(before);
    },
  );

  it("its host loses its power: its tasks run elsewhere", async () => {
    await w1.kill();
    await becomes(w1, "DOWN");
    await until("six run elsewhere", async () => {
      const rows = (await stage.tasks("web", { on: m1 })).filter((row) => row.desiredState === "RUNNING");
      return rows.length === 6 && rows.every((row) => row.currentState === "RUNNING" && row.node !== "w1");
    });
  });

  it("removed by force while it runs, a node stops what it ran", async () => {
    await stage.ctl(["node", "rm", "--force", "w2"], { on: m1 });
    const w2 = stage.host("w2");
    await until("w2 says that nothing is left", () => stage.log("w2").includes("nothing of its tasks is left here"));
    const { stdout } = await w2.exec("ls /run/starling/containers | wc -l");
    expect(stdout.trim()).toBe("0");
    await stage.running("web", 6, { on: m1 });
  });
});
