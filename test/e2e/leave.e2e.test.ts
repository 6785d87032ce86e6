import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** Nodes that leave on their own host's word. */
describe("swarmctl leave", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("leave", ["m1", "w1"]);
  });
  afterAll(() => stage?.close({ networks: "unseen" }));
  beforeEach(() => stage.showLogsOnFailure());

  const row = async (name: string) => (await stage.swarm.nodes()).find(({ hostname }) => hostname === name);
  const swarmdRuns = async (name: string) =>
    (await stage.host(name).exec(["pgrep", "-f", "services/swarmd/main"])).code === 0;
  const isNode = (name: string) => existsSync(join(stage.host(name).stateFolder, "certificates/swarm-node.crt"));

  it("on a worker stops its tasks and swarmd, and the host may join anew", async () => {
    const w1 = stage.host("w1");
    await stage.create("web", ["--mode", "global"], stage.image("busybox"), "sleep", "1000");
    await stage.running("web", 2);
    expect(await stage.refusal(["node", "ls"], { on: w1 })).toContain("this node is not a swarm manager");
    const before = await row("w1");
    expect(await stage.ctl(["leave"], { on: w1 })).toBe("Node left the swarm.\n");
    expect((await row("w1"))?.status).toBe("DOWN");
    await until("swarmd has ended", async () => !(await swarmdRuns("w1")));
    expect((await w1.exec(["pgrep", "-x", "sleep"])).code, "no task is left").not.toBe(0);
    expect(isNode("w1")).toBe(false);
    await stage.running("web", 1);
    await stage.ctl(["node", "rm", before!.id]);
    await stage.swarm.startNode(w1, stage.host("m1"));
    await stage.swarm.ready([w1]);
    expect((await row("w1"))!.id).not.toBe(before!.id);
    await stage.running("web", 2);
  });

  it("on a manager is refused, unless it is forced", async () => {
    const m1 = stage.host("m1");
    expect(await stage.refusal(["leave"], { on: m1 })).toContain("demote it first (swarmctl node demote self)");
    expect((await row("m1"))?.status).toBe("READY");
    expect(await stage.ctl(["leave", "--force"], { on: m1 })).toBe("Node left the swarm.\n");
    await until("swarmd has ended", async () => !(await swarmdRuns("m1")));
    expect(isNode("m1")).toBe(false);
    expect(existsSync(join(m1.stateFolder, "raft"))).toBe(false);
  });
});
