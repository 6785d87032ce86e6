import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** Whatever happens to tasks and nodes: what a task wrote into a named volume is where its next one runs. */
describe("a named volume", () => {
  let stage: Stage;
  let m1: Host;

  beforeAll(async () => {
    stage = await Stage.open("volumes", ["m1", "w1", "w2"]);
    m1 = stage.host("m1");
    // The workers are those that come and go.
    await stage.ctl(["node", "update", "--availability", "drain", "m1"]);
    const mount = ["--mount", "type=volume,source=data,target=/data"];
    const script = "echo $(hostname) >> /data/log; sleep 1000 & wait";
    const flags = [...mount, "--stop-grace-period", "0s", "--hostname", "{{.Node.Hostname}}"];
    await stage.create("db", flags, stage.image("tools"), "sh", "-c", `trap 'exit 0' TERM; ${script}`);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  /** Once the one task of the service runs and its volume has so many lines: what they are. */
  async function log(count: number): Promise<{ readonly node: string; readonly lines: readonly string[] }> {
    const [row] = await stage.running("db", 1, { on: m1 });
    const pid = await stage.pidOf(row!.id, { on: m1 });
    const { node } = row!;
    const lines = await until(`${count} lines in the volume`, async () => {
      const { stdout } = await stage.host(node).exec(`cat /proc/${pid}/root/data/log`);
      const found = stdout.split("\n").slice(0, -1);
      return found.length >= count ? found : undefined;
    });
    return { node, lines };
  }

  it("keeps what was written, and its task where that is, when the service is updated", async () => {
    const first = await log(1);
    expect(first.lines).toEqual([first.node]);
    await stage.ctl(["service", "update", "--detach", "--force", "db"]);
    await until("its next task runs", async () => (await stage.tasks("db", { on: m1 })).length === 2);
    expect(await log(2)).toEqual({ node: first.node, lines: [first.node, first.node] });
  });

  it("is waited for while its node is lost: no task begins with an empty one elsewhere", async () => {
    const { node, lines } = await log(2);
    const host = stage.host(node);
    await host.kill();
    const waiting = await stage.task("db", "waits for its volume", (row) => row.error.includes('volume "data"'), {
      on: m1,
    });
    expect(waiting.currentState).toBe("PENDING");
    expect(waiting.error).toBe(
      `no suitable node (volume "data" is on node ${node}: 1 node not available for new tasks)`,
    );
    await host.start();
    await stage.swarm.startNode(host);
    expect(await log(3)).toEqual({ node, lines: [...lines, node] });
  });

  it("is left behind when the service says so", async () => {
    const { node } = await log(3);
    await stage.ctl(["node", "update", "--availability", "drain", node]);
    await stage.task("db", "waits for its volume", (row) => row.error.includes('volume "data"'));
    await stage.ctl(["service", "update", "--detach", "--volume-placement", "anywhere", "db"]);
    await until("it runs elsewhere", async () => {
      const rows = await stage.tasks("db", { on: m1 });
      return rows.some((row) => row.currentState === "RUNNING" && row.node !== node && row.node !== "");
    });
    const { node: other, lines } = await log(1);
    expect(other).not.toBe(node);
    expect(lines).toEqual([other]);
  });

  it("is listed with its node and its users, and removed where nobody uses it", async () => {
    const { node } = await log(1);
    const left = node === "w1" ? "w2" : "w1";
    const [row] = await stage.running("db", 1);
    const volumes = () =>
      stage.json<{ name: string; node: string; usedBy: string[] }[]>(["volume", "ls", "--filter", "name=data"]);
    const [user] = (await volumes()).find((volume) => volume.node === node)!.usedBy;
    expect(user).toContain(row!.id);
    expect(await volumes()).toMatchObject([
      { name: "data", node: "w1", usedBy: node === "w1" ? [user] : [] },
      { name: "data", node: "w2", usedBy: node === "w2" ? [user] : [] },
    ]);
    expect(await stage.ctl(["volume", "inspect", "data", "--node", left])).toContain(`"Node": "${left}"`);
    expect(await stage.refusal(["volume", "rm", "data"])).toContain("each with its own content: name them by --node");
    expect(await stage.refusal(["volume", "rm", "data", "--node", node])).toContain(`volume data is in use by ${user}`);
    await stage.ctl(["volume", "rm", "data", "--node", left]);
    expect((await volumes()).map((volume) => volume.node)).toEqual([node]);
    await stage.ctl(["service", "rm", "db"]);
    await until("nothing uses it", async () => (await volumes())[0]!.usedBy.length === 0);
    expect(await stage.ctl(["volume", "prune", "--force"])).not.toContain("data");
    expect(await stage.ctl(["volume", "prune", "--all", "--force"])).toContain(`${node}: data\n`);
    expect(await volumes()).toEqual([]);
  });
});
