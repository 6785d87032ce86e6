import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** Two of three managers are lost for good; one command on the third brings the swarm back. */
describe("a lost quorum", () => {
  let stage: Stage;
  let m1: Host;
  let m2: Host;
  let m3: Host;

  beforeAll(async () => {
    stage = await Stage.open("quorum", ["m1", "m2", "m3", "w1"]);
    [m1, m2, m3] = [stage.host("m1"), stage.host("m2"), stage.host("m3")];
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  it("comes back by --force-new-cluster, which says what it drops; tasks run on, and who was dropped is refused", async () => {
    const flags = ["--constraint", "node.hostname==w1"];
    await stage.create("web", flags, stage.image("tools"));
    const [task] = await stage.running("web", 1);
    const pid = await stage.pidOf(task!.id);
    await stage.ctl(["config", "create", "before", "-"], { on: m1, input: "x" });
    for (const host of [m2, m3]) await stage.swarm.endNode(host);
    await until("nothing can be written", async () => {
      const { code } = await stage.swarm.ctl(["config", "create", `never-${Date.now()}`, "-"], { on: m1, input: "x" });
      return code !== 0;
    });

    await stage.swarm.endNode(m1);
    await stage.swarm.startNode(m1, undefined, undefined, ["--force-new-cluster"]);
    await stage.swarm.ready([m1, stage.host("w1")], { on: m1 });
    expect(stage.log("m1")).toMatch(
      /--force-new-cluster: manager \S+ goes on alone from entry \d+; drops these managers for ever/,
    );
    for (const host of [m2, m3]) expect(stage.log("m1")).toContain(`(${host.address}:4242)`);
    await stage.ctl(["config", "create", "after", "-"], { on: m1, input: "x" });
    const configs = await stage.json<readonly { name: string }[]>(["config", "ls"], { on: m1 });
    expect(configs.map(({ name }) => name)).toEqual(expect.arrayContaining(["before", "after"]));
    const [same] = await stage.running("web", 1, { on: m1 });
    expect({ id: same!.id, pid: await stage.pidOf(same!.id, { on: m1 }) }).toEqual({ id: task!.id, pid });

    await stage.swarm.startNode(m2);
    await until(
      "m2 has learned that it is out",
      () => stage.log("m2").includes("this member was removed from the group"),
      {
        timeoutMs: 60_000,
      },
    );
    await stage.swarm.startNode(m3);
    await until(
      "m3 has learned that it is out",
      () => stage.log("m3").includes("this member was removed from the group"),
      {
        timeoutMs: 60_000,
      },
    );
    const managers = (await stage.swarm.nodes({ on: m1 })).filter(({ managerStatus }) => managerStatus !== null);
    expect(managers.map(({ hostname }) => hostname)).toEqual(["m1"]);
    await stage.ctl(["config", "create", "later", "-"], { on: m1, input: "x" });
    expect((await stage.running("web", 1, { on: m1 }))[0]!.id).toBe(task!.id);
  });
});
