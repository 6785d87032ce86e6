import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

const kills = 4;

/** Commands say what happened, though the leader that carries them out is killed meanwhile. */
describe("swarmctl while leaders are killed", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("leaders", ["m1", "m2", "m3"]);
    await stage.create("web", ["--replicas", "0"], stage.image("web1"));
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  it("each update, scale, create and remove succeeds, and did so once", { timeout: 240_000 }, async () => {
    const managers = stage.swarm.members();
    /** Where commands are typed: its own swarmd stays, since a socket that nobody listens on is a true failure. */
    let desk = managers[1]!;
    let stop = false;
    let rounds = 0;
    const work = async () => {
      for (; !stop; rounds++) {
        const on = desk;
        const config = `round-${rounds}`;
        await stage.ctl(["service", "update", "-d", "--label-add", `round=${rounds}`, "web"], { on });
        await stage.ctl(["service", "scale", "-d", `web=${rounds % 2}`], { on });
        await stage.ctl(["service", "update", "-d", "--force", "web"], { on });
        await stage.ctl(["config", "create", config, "-"], { on, input: config });
        await stage.ctl(["config", "rm", config], { on });
        const [service] = await stage.json<readonly { spec: { task: { forceUpdate?: number } } }[]>(
          ["service", "inspect", "web", "web"],
          { on },
        );
        expect(Number(service!.spec.task.forceUpdate), "forced as often as asked").toBe(rounds + 1);
      }
    };
    const working = work();
    working.catch(() => {
      stop = true;
    });
    const roundsPass = async (count: number) => {
      const goal = rounds + count;
      await until("the work goes on", () => stop || rounds >= goal, { timeoutMs: 60_000, periodMs: 20 });
    };
    for (let kill = 0; kill < kills && !stop; kill++) {
      const leader = (await stage.swarm.leader({ on: desk }))!;
      desk = managers.find((host) => host !== leader)!;
      await roundsPass(2);
      await stage.swarm.endNode(leader);
      await roundsPass(2);
      await stage.swarm.startNode(leader);
      await stage.swarm.ready([leader], { on: desk });
    }
    stop = true;
    await working;
    expect(rounds).toBeGreaterThan(kills);
  });
});
