import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { lean } from "../../deploy/distribution/lean.ts";
import { type Host, type Programs, until } from "../cluster/index.ts";
import { buildDistribution, removeDistribution } from "./distribution.ts";
import { Stage } from "./stage.ts";

/** V8's flags are chosen before anybody has asked who this node is: by what its folder holds, and once more if that was wrong. */
describe("swarmd of a distribution has the young generation of its role", () => {
  let stage: Stage;
  let programs: Programs;

  beforeAll(async () => {
    programs = buildDistribution();
    stage = await Stage.open("young", ["m1", "m2", "w1"], programs);
  });
  afterAll(async () => {
    await stage?.close();
    removeDistribution(programs);
  });
  beforeEach(() => stage.showLogsOnFailure());

  async function daemon(host: Host) {
    const [pid = ""] = (await host.mustExec(["pgrep", "-f", "lib/run.cjs swarmd"])).trim().split("\n");
    const [, ...args] = (await host.mustExec(["cat", `/proc/${pid}/cmdline`])).split("\0");
    return { pid, flags: args.slice(0, lean.flags.manager.length) };
  }

  it.each<[name: string, role: "manager" | "worker", how: string]>([
    ["m1", "manager", "which began the swarm"],
    ["m2", "manager", "which joined"],
    ["w1", "worker", "which joined"],
  ])("%s, a %s %s", async (name, role) => {
    expect((await daemon(stage.host(name))).flags).toEqual(lean.flags[role]);
    // Only who turned out to be a manager had to start anew.
    expect(stage.log(name).match(/swarmd starts"/g)).toHaveLength(name === "m2" ? 2 : 1);
  });

  it("a promoted worker from its next start on: a promotion restarts nothing", async () => {
    const w1 = stage.host("w1");
    const before = await daemon(w1);
    await stage.ctl(["node", "promote", "w1"]);
    const reachable = async () =>
      (await stage.swarm.nodes()).some(
        (row) => row.hostname === "w1" && row.managerStatus?.reachability === "REACHABLE",
      );
    await until("w1 is a manager", reachable, { timeoutMs: 20_000, periodMs: 100 });
    expect(await daemon(w1)).toEqual(before);
    await stage.swarm.endNode(w1, "TERM");
    await stage.swarm.startNode(w1);
    await stage.swarm.ready(stage.swarm.members());
    expect((await daemon(w1)).flags).toEqual(lean.flags.manager);
  });
});
