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

  /** What the one task of the service, which runs, has in its volume. */
  async function log(): Promise<{ readonly node: string; readonly lines: readonly string[] }> {
    const [row] = await stage.running("db", 1, { on: m1 });
    const pid = await stage.pidOf(row!.id, { on: m1 });
    const { stdout } = await stage.host(row!.node).exec(`cat /proc/${pid}/root/data/log`);
    return { node: row!.node, lines: stdout.trim().split("\n") };
  }

  it("keeps what was written, and its task where that is, when the service is updated", async () => {
    const first = await log();
    expect(first.lines).toEqual([first.node]);
    await stage.ctl(["service", "update", "--force", "db"]);
    expect(await log()).toEqual({ node: first.node, lines: [first.node, first.node] });
  });

  it("is waited for while its node is lost: no task begins with an empty one elsewhere", async () => {
    const { node, lines } = await log();
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
    expect(await log()).toEqual({ node, lines: [...lines, node] });
  });

  it("is left behind when the service says so", async () => {
    const { node } = await log();
    await stage.ctl(["node", "update", "--availability", "drain", node]);
    await stage.task("db", "waits for its volume", (row) => row.error.includes('volume "data"'));
    await stage.ctl(["service", "update", "--detach", "--volume-placement", "anywhere", "db"]);
    await until("it runs elsewhere", async () => {
      const rows = await stage.tasks("db", { on: m1 });
      return rows.some((row) => row.currentState === "RUNNING" && row.node !== node && row.node !== "");
    });
    const { node: other, lines } = await log();
    expect(other).not.toBe(node);
    expect(lines).toEqual([other]);
  });
});
