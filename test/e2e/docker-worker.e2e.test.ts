import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed } from "vitest";
import { until } from "../cluster/index.ts";
import { DockerEngine } from "./docker-engine.ts";
import { Stage } from "./stage.ts";

/** Docker's own word for a task's container. */
interface ContainerRow {
  readonly ID: string;
  readonly Names: string;
  readonly State: string;
}

/** A Docker Engine as a worker of our swarm, from joining to leaving. */
describe("a real dockerd", () => {
  let stage: Stage;
  let engine: DockerEngine;
  const onEngine = ["--constraint", "node.hostname==d1", "--network", "host", "--stop-grace-period", "1s"];

  beforeAll(async () => {
    stage = await Stage.open("dockerd", ["m1", "m2", "m3", "d1"]);
    engine = await DockerEngine.start(stage.host("d1"));
  });
  afterAll(() => stage?.close());
  beforeEach(() => {
    stage.showLogsOnFailure();
    onTestFailed(() => console.log(`--- dockerd\n${engine.log().split("\n").slice(-60).join("\n")}`));
  });

  const nodeRow = async () => (await stage.swarm.nodes()).find(({ hostname }) => hostname === "d1");
  const container = async (taskId: string) => {
    const rows = await engine.rows<ContainerRow>(["ps", "--all", "--no-trunc"]);
    return rows.find(({ Names }) => Names.endsWith(`.${taskId}`));
  };
  const startedAt = (id: string) => engine.docker(["inspect", "--format", "{{.Id}} {{.State.StartedAt}}", id]);

  it("joins as a worker by token, and is described as it is", async () => {
    const leader = (await stage.swarm.leader())!;
    await engine.join(leader, await stage.swarm.joinToken("worker", leader));
    await until("the node is ready", async () => (await nodeRow())?.status === "READY");
    expect(await engine.docker(["info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.NodeID}}"])).toBe(
      `active ${(await nodeRow())!.id}\n`,
    );
    const node = await stage.json<{ description: { engine: { engineVersion: string; plugins: object[] } } }>([
      "node",
      "inspect",
      "d1",
    ]);
    expect(node.description.engine.engineVersion).toBe(
      (await engine.docker(["version", "-f", "{{.Server.Version}}"])).trim(),
    );
    expect(node.description.engine.plugins).toContainEqual({ type: "Network", name: "host" });
  });

  it("runs a task on the host's network, with environment, secret and config, and sends its log", async () => {
    await stage.ctl(["secret", "create", "key", "-"], { input: "hush" });
    await stage.ctl(["config", "create", "conf", "-"], { input: "loud" });
    const script = 'echo "$A $(cat /run/secrets/key) $(cat /conf) $(hostname)"; ip addr; sleep 1000';
    await stage.create(
      "web",
      [...onEngine, "--env", "A={{.Service.Name}}", "--secret", "key", "--config", "source=conf,target=/conf"],
      stage.image("tools"),
      ...["sh", "-c", script],
    );
    const [task] = await stage.running("web", 1);
    expect(await container(task!.id)).toMatchObject({ State: "running" });
    const log = await until("the log is there", async () => {
      const text = await stage.ctl(["service", "logs", "--raw", "web"]);
      return text.includes("10.99.0.") && text;
    });
    expect(log).toMatch(/^web hush loud d1\n/);
    expect(log, "the host's own interface").toContain(stage.host("d1").address);
  });

  it("tells how tasks end: exit codes, images that are not there", async () => {
    await stage.create(
      "fails",
      [...onEngine, "--restart-condition", "none"],
      stage.image("busybox"),
      "sh",
      "-c",
      "exit 7",
    );
    const failed = await stage.task("fails", "has failed", ({ currentState }) => currentState === "FAILED");
    expect(failed).toMatchObject({ exitCode: 7, error: expect.stringContaining("7") });
    const missing = `${stage.image("busybox").replace("busybox", "nosuch")}`;
    await stage.create("missing", [...onEngine, "--restart-condition", "none", "--no-resolve-image"], missing);
    const rejected = await stage.task("missing", "is rejected", ({ currentState }) => currentState === "REJECTED");
    expect(rejected.error).toMatch(/No such image/);
    await stage.ctl(["service", "rm", "fails", "missing"]);
  });

  it("gets no task that needs an overlay network or an option of swarmd's, which says so", async () => {
    await stage.ctl(["network", "create", "front"]);
    for (const [name, flags] of [
      ["overlay", ["--network", "front"]],
      ["special", ["--privileged"]],
    ] as const) {
      await stage.create(
        name,
        ["--constraint", "node.hostname==d1", ...flags],
        stage.image("busybox"),
        "sleep",
        "1000",
      );
      const waiting = await stage.task(name, "says why it waits", ({ error }) => error !== "");
      expect(waiting).toMatchObject({ currentState: "PENDING" });
      expect(waiting.error).toContain(
        "overlay networks and io.starling options not available on 1 node without swarmd",
      );
    }
    await stage.ctl(["service", "rm", "overlay", "special"]);
  });

  it("says that a command in its containers is not to be had", async () => {
    expect(await stage.refusal(["service", "exec", "web", "true"])).toContain("node d1 runs no swarmd");
    expect((await stage.swarm.ctl(["network", "audit"])).code, "an audit does without it").toBe(0);
  });

  it("moves its session when the leader's host dies, keeps its task running, and takes a new one", async () => {
    const [before] = await stage.running("web", 1);
    const { ID } = (await container(before!.id))!;
    const started = await startedAt(ID);
    const leader = (await stage.swarm.leader())!;
    await leader.kill();
    await stage.create("after", onEngine, stage.image("busybox"), "sh", "-c", "echo new; sleep 1000");
    const [fresh] = await stage.running("after", 1);
    expect(await container(fresh!.id)).toMatchObject({ State: "running" });
    expect((await nodeRow())?.status).toBe("READY");
    expect((await stage.tasks("web")).map(({ id, currentState }) => [id, currentState])).toEqual([
      [before!.id, "RUNNING"],
    ]);
    expect(await startedAt(ID), "the same container").toBe(started);
    expect(await stage.ctl(["service", "logs", "--raw", "after"])).toBe("new\n");
    await stage.swarm.restart(leader);
    await stage.swarm.ready([leader]);
  });

  it("stops what is removed, drains, and leaves", async () => {
    await stage.ctl(["service", "rm", "after"]);
    await until("its container is gone", async () => (await engine.rows(["ps", "--all"])).length === 1, {
      timeoutMs: 60_000,
    });
    await stage.ctl(["node", "update", "--availability", "drain", "d1"]);
    await until("nothing runs", async () => (await engine.rows(["ps"])).length === 0, { timeoutMs: 60_000 });
    await stage.ctl(["service", "rm", "web"]);
    // Docker's agents do not take leave: that its host answers could mean that it is only restarted.
    await stage.ctl(["node", "update", "--restart-grace", "0s", "d1"]);
    await engine.docker(["swarm", "leave"]);
    await until("the node is down", async () => (await nodeRow())?.status === "DOWN");
    await stage.ctl(["node", "rm", "d1"]);
    expect(await nodeRow()).toBeUndefined();
    expect(await engine.docker(["info", "--format", "{{.Swarm.LocalNodeState}}"])).toBe("inactive\n");
  });
});
