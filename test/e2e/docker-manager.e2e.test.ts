import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFailed } from "vitest";
import { type Host, Swarm, TestCluster, until } from "../cluster/index.ts";
import { type PushedImages, startRegistry } from "../images/index.ts";
import { DockerEngine } from "./docker-engine.ts";

interface NodeRow {
  readonly ID: string;
  readonly Hostname: string;
  readonly Status: string;
  readonly EngineVersion: string;
}

interface TaskRow {
  readonly ID: string;
  readonly Name: string;
  readonly CurrentState: string;
  readonly Error: string;
}

/** swarmd as a worker of a swarm whose manager is a Docker Engine, from joining to leaving. */
describe("swarmd under a real dockerd", () => {
  let cluster: TestCluster;
  let swarm: Swarm;
  let engine: DockerEngine;
  let worker: Host;
  let images: PushedImages;

  beforeAll(async () => {
    cluster = await TestCluster.create({ name: `e2e-dockerm-${process.pid}`, hosts: ["reg", "d1", "w1"] });
    swarm = new Swarm(cluster);
    worker = cluster.host("w1");
    const [registry, started] = await Promise.all([
      startRegistry(cluster.host("reg")),
      DockerEngine.start(cluster.host("d1")),
    ]);
    images = registry.images;
    engine = started;
    await engine.init();
  });
  afterAll(() => cluster?.destroy());
  beforeEach(() =>
    onTestFailed(() =>
      console.log(`--- swarmd\n${log()}\n--- dockerd\n${engine.log().split("\n").slice(-30).join("\n")}`),
    ),
  );

  const log = () => (existsSync(worker.logFile("swarmd")) ? readFileSync(worker.logFile("swarmd"), "utf8") : "");
  const nodeRow = async () => (await engine.rows<NodeRow>(["node", "ls"])).find(({ Hostname }) => Hostname === "w1");
  const create = (name: string, flags: readonly string[], ...command: readonly string[]) => {
    const where = ["--constraint", "node.hostname==w1", "--detach", "--stop-grace-period", "1s"];
    return engine.docker(["service", "create", "--name", name, ...where, ...flags, images.tools.reference, ...command]);
  };
  const task = (service: string, what: string, matches: (row: TaskRow) => boolean) =>
    until(
      `a task of ${service} ${what}`,
      async () => (await engine.rows<TaskRow>(["service", "ps", "--no-trunc", service])).find(matches),
      { timeoutMs: 60_000, periodMs: 200 },
    );

  it("joins as a worker by the engine's token, and is described as it is", async () => {
    const token = (await engine.docker(["swarm", "join-token", "worker", "-q"])).trim();
    await swarm.startNode(worker, engine.host, token);
    await until("the node is ready", async () => (await nodeRow())?.Status === "Ready");
    const described = await engine.docker(["node", "inspect", "w1", "--format", "{{json .}}"]);
    expect(JSON.parse(described)).toMatchObject({
      Spec: { Role: "worker" },
      Description: {
        Hostname: "w1",
        Platform: { OS: "linux" },
        Engine: { EngineVersion: (await nodeRow())!.EngineVersion },
      },
      Status: { State: "ready", Addr: worker.address },
    });
  });

  it("runs a task on the host's network, with secret and config, and its log is the engine's", async () => {
    await engine.docker(["secret", "create", "key", "-"], { input: "hush" });
    await engine.docker(["config", "create", "conf", "-"], { input: "loud" });
    const script = 'echo "$A $(cat /run/secrets/key) $(cat /conf) $(hostname)"; ip addr; sleep 1000';
    const flags = ["--network", "host", "--secret", "key", "--config", "source=conf,target=/conf"];
    await create("web", [...flags, "--env", "A={{.Service.Name}}"], "sh", "-c", script);
    await task("web", "runs", ({ CurrentState }) => CurrentState.startsWith("Running"));
    const text = await until("the log is there", async () => {
      const lines = await engine.docker(["service", "logs", "--raw", "web"]);
      return lines.includes("10.99.0.") && lines;
    });
    expect(text).toMatch(/^web hush loud w1\n/);
    expect(text, "the host's own interface").toContain(worker.address);
  });

  it("runs a task with a network of its own, and tells its exit code", async () => {
    await create("own", ["--restart-condition", "none"], "sh", "-c", "ls /sys/class/net; exit 7");
    const failed = await task("own", "has failed", ({ CurrentState }) => CurrentState.startsWith("Failed"));
    expect(failed.Error).toContain("7");
    expect(await engine.docker(["service", "logs", "--raw", "own"])).not.toContain("starling");
    await engine.docker(["service", "rm", "own"]);
  });

  it("says why a task has no overlay network and no place in the mesh", async () => {
    await engine.docker(["network", "create", "--driver", "overlay", "front"]);
    for (const [name, flags, why] of [
      ["overlay", ["--network", "front"], "network front: overlay networks are not available on this node"],
      ["mesh", ["--publish", "8080:80"], "published ports: the routing mesh is not available on this node"],
    ] as const) {
      await create(name, [...flags, "--restart-condition", "none"], "sleep", "1000");
      const refused = await task(name, "is refused", ({ CurrentState }) => /^(Rejected|Failed)/.test(CurrentState));
      expect(refused.Error).toContain(why);
      await engine.docker(["service", "rm", name]);
    }
  });

  it("keeps its task over a restart of swarmd", async () => {
    const before = await task("web", "runs", ({ CurrentState }) => CurrentState.startsWith("Running"));
    await swarm.endNode(worker);
    await swarm.startNode(worker);
    await until("a new session", () => log().split("session with managers").length > 2);
    const rows = await engine.rows<TaskRow>(["service", "ps", "--no-trunc", "web"]);
    expect(rows.map(({ ID }) => ID)).toEqual([before.ID]);
  });

  it("stays a worker when it is promoted, and says so", async () => {
    await engine.docker(["node", "promote", "w1"]);
    await until("swarmd says so", () => log().includes("not promoted: the managers of this swarm run no swarmd"));
    await task("web", "runs", ({ CurrentState }) => CurrentState.startsWith("Running"));
    expect(log()).not.toContain("this node is a manager now");
  });

  it("takes another revision of the service, stops what is removed, and leaves", async () => {
    await engine.docker(["service", "update", "--detach", "--env-add", "A=new", "web"]);
    await until(
      "the new revision's log",
      async () => (await engine.docker(["service", "logs", "--raw", "web"])).includes("new hush loud w1"),
      { timeoutMs: 60_000 },
    );
    await engine.docker(["service", "rm", "web"]);
    const node = await nodeRow();
    await swarm.endNode(worker, "TERM");
    await until("the node is down", async () => (await nodeRow())?.Status === "Down", { timeoutMs: 60_000 });
    await engine.docker(["node", "rm", "--force", node!.ID]);
    expect(await nodeRow()).toBeUndefined();
  });
});
