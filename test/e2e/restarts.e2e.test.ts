import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

describe("swarmd is killed and comes back", () => {
  let stage: Stage;
  let m1: Host;
  let w1: Host;

  beforeAll(async () => {
    stage = await Stage.open("restarts", ["m1", "w1"]);
    m1 = stage.host("m1");
    w1 = stage.host("w1");
    // Patience with a node that starts slowly on a busy machine: three periods without a heartbeat, and its tasks go elsewhere.
    await stage.ctl(["cluster", "update", "--heartbeatperiod", "10s"]);
    // Counts into a folder of the host: its progress shows without asking anyone.
    const count = "i=0; trap 'exit 0' TERM; while :; do i=$((i+1)); echo $i > /out/count; sleep 0.05; done";
    const mount = ["--mount", "type=bind,source=/var/lib/swarmd/,target=/out"];
    await stage.create(
      "counter",
      [...mount, "--constraint", "node.hostname==w1"],
      stage.image("tools"),
      "sh",
      "-c",
      count,
    );
    await stage.running("counter", 1);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const counted = () => Number(readFileSync(join(w1.stateFolder, "count"), "utf8"));

  /** Starts swarmd on the worker and resolves when it has found its containers again and managers have heard of them. */
  async function comeBack(containers: number): Promise<void> {
    const sessions = () => stage.log("w1").split("session with managers").length;
    const before = sessions();
    await stage.swarm.startNode(w1);
    await has(containers);
    await until("the worker has a session", () => sessions() > before, { timeoutMs: 30_000 });
  }

  async function has(containers: number): Promise<void> {
    await until(`the worker has ${containers} containers`, async () => {
      const { stdout } = await w1.exec(["curl", "-s", "http://w1:9090/metrics"]);
      return stdout.includes(`starling_node_containers ${containers}\n`);
    });
  }

  /** Resolves when the counter has moved on by a few. */
  async function counts(): Promise<void> {
    const before = counted();
    await until(`the counter gets beyond ${before}`, () => counted() > before + 3, { timeoutMs: 10_000 });
  }

  async function oneTask() {
    const [task] = await stage.running("counter", 1);
    return { id: task!.id, pid: await stage.pidOf(task!.id) };
  }

  it.each(["KILL", "TERM"] as const)("on a worker, by SIG%s: its container goes on untouched", async (signal) => {
    const before = await oneTask();
    await stage.swarm.endNode(w1, signal);
    const reached = counted();
    await counts();
    await comeBack(1);
    expect(await oneTask()).toEqual(before);
    expect(counted(), "it began anew").toBeGreaterThan(reached);
    await counts();
  });

  it("while no manager is up: the container goes on, and is found again", async () => {
    const before = await oneTask();
    await stage.swarm.endNode(m1);
    await stage.swarm.endNode(w1);
    await stage.swarm.startNode(w1);
    await has(1);
    await counts();
    await stage.swarm.startNode(m1);
    await stage.swarm.ready([m1, w1]);
    expect(await oneTask()).toEqual(before);
    await counts();
  });

  it("a container that ended meanwhile is noticed and replaced", async () => {
    const before = await oneTask();
    await stage.swarm.endNode(w1);
    await w1.mustExec(["kill", "-KILL", String(before.pid)]);
    await stage.swarm.startNode(w1);
    const ended = await stage.task("counter", "failed", (row) => row.id === before.id && row.currentState === "FAILED");
    expect(ended.error).toContain("non-zero exit (137)");
    await until("another task counts", async () => (await oneTask()).id !== before.id, { timeoutMs: 30_000 });
    await counts();
  });

  it("it is removed as ever: nothing of it is left", async () => {
    const { pid } = await oneTask();
    await stage.swarm.endNode(w1);
    await comeBack(1);
    await stage.ctl(["service", "rm", "counter"]);
    await until("its process is gone", async () => (await w1.exec(["test", "-e", `/proc/${pid}`])).code !== 0);
    await until("its folders are gone", async () => {
      const { stdout } = await w1.exec("ls /run/starling/containers /var/lib/swarmd/containers");
      return !/\w{25}/.test(stdout);
    });
  });

  it("a service that was removed while swarmd was away is carried away at its return", async () => {
    await stage.create("gone", ["--constraint", "node.hostname==w1"], stage.image("tools"));
    const [task] = await stage.running("gone", 1);
    const pid = await stage.pidOf(task!.id);
    await stage.swarm.endNode(w1);
    await stage.ctl(["service", "rm", "gone"]);
    expect((await w1.exec(["test", "-e", `/proc/${pid}`])).code, "nobody was there to stop it").toBe(0);
    await stage.swarm.startNode(w1);
    await until("its process is gone", async () => (await w1.exec(["test", "-e", `/proc/${pid}`])).code !== 0);
  });
});
