import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, type NodeRow, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** Nodes change their roles, are drained, leave and come back, while a service runs on. */
describe("nodes", () => {
  let stage: Stage;
  let m1: Host;
  let w1: Host;
  let w2: Host;

  beforeAll(async () => {
    stage = await Stage.open("nodes", ["m1", "m2", "m3", "w1", "w2"]);
    m1 = stage.host("m1");
    w1 = stage.host("w1");
    w2 = stage.host("w2");
    await stage.create("web", ["--replicas", "5", "-p", "8080:80"], stage.image("web1"));
    await stage.running("web", 5);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  async function node(host: Host): Promise<NodeRow | undefined> {
    return (await stage.swarm.nodes({ on: m1 })).find((row) => row.hostname === host.name);
  }

  async function becomes(host: Host, what: string, matches: (row: NodeRow | undefined) => boolean): Promise<void> {
    let row: NodeRow | undefined;
    await until(
      `${host.name} is ${what}`,
      async () => {
        row = await node(host);
        return matches(row);
      },
      { timeoutMs: 40_000, periodMs: 100 },
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(row)}`);
    });
  }

  it("a promoted worker becomes a manager that answers, without touching its containers", async () => {
    const before = await stage.running("web", 5);
    expect(await containersOn(w1)).toEqual([{ ended: false }]);
    await stage.ctl(["node", "promote", "w1"], { on: m1 });
    await becomes(w1, "a reachable manager", (row) => row?.managerStatus?.reachability === "REACHABLE");
    await until("its own socket answers", async () => (await stage.swarm.nodes({ on: w1 })).length === 5);
    await stage.ctl(["config", "create", "through-w1", "-"], { on: w1, input: "x" });
    expect((await stage.running("web", 5)).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  });

  it("it outlives a restart as a manager", async () => {
    await stage.swarm.endNode(w1);
    await stage.swarm.startNode(w1);
    await becomes(w1, "a reachable manager", (row) => row?.managerStatus?.reachability === "REACHABLE");
    await until("its own socket answers", async () => (await stage.swarm.nodes({ on: w1 })).length === 5);
  });

  it("demoted, it is a worker again and its socket says so", async () => {
    await stage.ctl(["node", "demote", "w1"], { on: m1 });
    await becomes(w1, "a ready worker", (row) => row?.managerStatus === null && row.status === "READY");
    const refusal = "Error: this node is not a swarm manager: run this on a manager's host";
    await until("its socket refuses", async () => {
      const { code, stderr } = await stage.swarm.ctl(["node", "ls"], { on: w1 });
      return code !== 0 && stderr.trim() === refusal;
    });
    await stage.running("web", 5);
  });

  it("the leader can be demoted, too: another leads", async () => {
    const leader = (await stage.swarm.leader({ on: m1 }))!;
    const console = stage.swarm.members().find((host) => /^m/.test(host.name) && host !== leader)!;
    await stage.ctl(["node", "demote", leader.name], { on: console });
    const row = async () => (await stage.swarm.nodes({ on: console })).find(({ hostname }) => hostname === leader.name);
    await until("it is a worker", async () => (await row())?.managerStatus === null, {
      timeoutMs: 40_000,
      periodMs: 100,
    });
    expect((await stage.swarm.leader({ on: console }))?.name).not.toBe(leader.name);
    await stage.ctl(["node", "promote", leader.name], { on: console });
    await until("it is a manager again", async () => (await row())?.managerStatus?.reachability === "REACHABLE", {
      timeoutMs: 40_000,
      periodMs: 100,
    });
    await stage.swarm.ready([m1], { on: console });
  });

  it("drained, it gives its tasks to others; paused, it gets no new ones", async () => {
    await stage.ctl(["node", "update", "--availability", "drain", "w1"], { on: m1 });
    await stage.ctl(["node", "update", "--availability", "pause", "w2"], { on: m1 });
    await until("no task of web is on w1", async () => {
      const rows = (await stage.tasks("web", { on: m1 })).filter((row) => row.desiredState === "RUNNING");
      return rows.length === 5 && rows.every((row) => row.currentState === "RUNNING" && row.node !== "w1");
    });
    await until("no container runs on w1", async () => (await containersOn(w1)).every(({ ended }) => ended));
    await stage.create("later", ["--replicas", "6"], stage.image("web1"));
    const rows = await stage.running("later", 6, { on: m1 });
    expect(new Set(rows.map((row) => row.node))).toEqual(new Set(["m1", "m2", "m3"]));
    await stage.ctl(["service", "rm", "later"], { on: m1 });
    for (const name of ["w1", "w2"]) await stage.ctl(["node", "update", "--availability", "active", name], { on: m1 });
  });

  it("a node that is up is not removed, one that is silent is; it never comes back as that node", async () => {
    const id = (await node(w2))!.id;
    expect(await stage.refusal(["node", "rm", "w2"], { on: m1 })).toMatch(/is not down and can't be removed/);
    await stage.swarm.endNode(w2);
    await becomes(w2, "silent", (row) => row?.status === "DISCONNECTED");
    await stage.ctl(["node", "rm", "w2"], { on: m1 });
    expect(await node(w2)).toBeUndefined();
    const logged = stage.log("w2").length;
    await stage.swarm.startNode(w2);
    const told = `node ${id} was removed from the cluster: join it again`;
    await until("w2 is told that it was removed", () => stage.log("w2").slice(logged).includes(told));
    expect(await node(w2)).toBeUndefined();
    await stage.swarm.endNode(w2, "KILL");

    rmSync(join(w2.stateFolder, "certificates"), { recursive: true });
    await stage.swarm.startNode(w2, m1);
    await stage.swarm.ready([w2], { on: m1 });
    expect((await node(w2))!.id).not.toBe(id);
  });

  it("a manager is not removed before it is demoted", async () => {
    expect(await stage.refusal(["node", "rm", "--force", "m2"], { on: m1 })).toMatch(/is a cluster manager/);
  });

  it("all the while the service went on, and does", async () => {
    await stage.running("web", 5, { on: m1 });
    const { stdout } = await w1.exec(["curl", "-s", "-m", "3", "http://w2:8080/"]);
    expect(stdout).toMatch(/^host=\w+ version=1/);
  });

  it("a node that is removed by force while it is up is shut out at once, and says so", async () => {
    await stage.create("everywhere", ["--mode", "global"], stage.image("web1"));
    await stage.running("everywhere", 5, { on: m1 });
    const id = (await node(w1))!.id;
    await stage.ctl(["node", "rm", "--force", "w1"], { on: m1 });
    const told = `node ${id} was removed from the cluster: join it again`;
    await until("w1 is told that it was removed", () => stage.log("w1").includes(told));
    expect((await stage.swarm.nodes({ on: m1 })).map(({ hostname }) => hostname)).toEqual(["m1", "m2", "m3", "w2"]);
    await stage.running("everywhere", 4, { on: m1 });
  });
});

/** The host's containers: one that ended keeps its files for as long as its task is in the history. */
async function containersOn(host: Host): Promise<readonly { readonly ended: boolean }[]> {
  const { stdout } = await host.exec('for c in /run/starling/containers/*/; do [ -e "$c/exit.json" ]; echo $?; done');
  return stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => ({ ended: line === "0" }));
}
