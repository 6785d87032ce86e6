import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Programs, until } from "../cluster/index.ts";
import { leftOver, type Traces, tracesOf } from "../demo/traces.ts";
import { buildDistribution, removeDistribution } from "./distribution.ts";
import { Stage } from "./stage.ts";

/** The first to fail when something basic breaks: each step builds on the one before. */
describe.each(["sources", "distribution"] as const)("one manager, one worker, run from the %s", (kind) => {
  let stage: Stage;
  let programs: Programs;
  const before = new Map<string, Traces>();

  beforeAll(async () => {
    programs = kind === "sources" ? "sources" : buildDistribution();
    stage = await Stage.open(`smoke-${kind.slice(0, 4)}`, ["m1", "w1"], programs);
    for (const host of stage.swarm.members()) before.set(host.name, await tracesOf(host));
  });
  afterAll(async () => {
    await stage?.close();
    removeDistribution(programs);
  });
  beforeEach(() => stage.showLogsOnFailure());

  const ask = async () => (await stage.host("w1").exec(["curl", "-s", "-m", "3", "http://m1:8080/"])).stdout;

  it("creates a service, and its tasks answer on every host", async () => {
    await stage.ctl(["service", "create", "--name", "web", "--replicas", "2", "-p", "8080:80", stage.image("web1")]);
    const tasks = await stage.running("web", 2);
    expect(new Set(tasks.map((task) => task.node))).toEqual(new Set(["m1", "w1"]));
    expect(await ask()).toMatch(/^host=\w+ version=1 client=10\.99\.0\.21 /);
  });

  it("scales it", async () => {
    await stage.ctl(["service", "scale", "web=4"]);
    await stage.running("web", 4);
    await stage.ctl(["service", "scale", "web=2"]);
    await stage.running("web", 2);
  });

  it("updates its image", async () => {
    await stage.ctl(["service", "update", "--image", stage.image("web2"), "web"]);
    await stage.running("web", 2);
    expect(await ask()).toContain("version=2");
  });

  it("removes it, and leaves nothing on any host", async () => {
    await stage.ctl(["service", "rm", "web"]);
    await until(
      "nothing is left",
      async () => {
        for (const host of stage.swarm.members()) {
          const left = leftOver(before.get(host.name)!, await tracesOf(host));
          if (left.length > 0) throw new Error(`${host.name}: ${left.join("; ")}`);
        }
        return true;
      },
      { timeoutMs: 30_000, periodMs: 200 },
    );
  });
});
