import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { Stage, type TaskRow } from "./stage.ts";

/** A host is lost and comes back: what ran on it runs elsewhere by then. */
describe("a node that comes back", () => {
  let stage: Stage;
  let w2: Host;

  beforeAll(async () => {
    stage = await Stage.open("rebalance", ["m1", "w1", "w2"]);
    w2 = stage.host("w2");
    await stage.ctl(["node", "update", "--restart-grace", "0s", "w2"]);
    await stage.create("web", ["--replicas", "6", "--update-order", "start-first"], stage.image("web1"));
    await stage.running("web", 6);
    await stage.swarm.endNode(w2, "KILL");
    await until("its tasks run elsewhere", async () => {
      const rows = await running();
      return rows.length === 6 && rows.every(({ node }) => node !== "w2");
    });
    await stage.swarm.startNode(w2);
    await stage.swarm.ready([w2], { on: stage.host("m1") });
  }, 60_000);
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const running = async (): Promise<readonly TaskRow[]> =>
    (await stage.tasks("web")).filter((row) => row.desiredState === "RUNNING" && row.currentState === "RUNNING");

  it("stays empty unless somebody asks for more; new tasks go there", async () => {
    await stage.create("later", [], stage.image("web1"));
    expect((await stage.running("later", 1))[0]?.node).toBe("w2");
    expect((await running()).filter(({ node }) => node === "w2")).toEqual([]);
  });

  it("gets its share of the tasks of a service that is rebalanced, while as many as ever run", async () => {
    await stage.ctl(["cluster", "update", "--rebalance-rate", "60", "--rebalance-settle", "1s", "default"]);
    await stage.ctl(["service", "update", "--detach", "--rebalance", "on", "web"]);
    let least = Number.POSITIVE_INFINITY;
    await until("two run there", async () => {
      const rows = await running();
      least = Math.min(least, rows.length);
      return rows.length === 6 && rows.filter(({ node }) => node === "w2").length === 2;
    });
    expect(least).toBe(6);
    const moved = await stage.task("web", "was moved", ({ message }) => message.startsWith("rebalanced"));
    expect(moved).toMatchObject({ message: "rebalanced: moved to use node w2", error: "" });
    expect(moved.node).not.toBe("w2");
  });
});
