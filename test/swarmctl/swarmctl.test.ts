import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  Annotations,
  ContainerSpec,
  ContainerStatus,
  LogContext,
  LogMessage,
  LogStream,
  NodeStatus_State,
  type Service,
  SubscribeLogsMessage,
  type SubscribeLogsRequest,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
  UpdateStatus,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { newId } from "@starling/base";
import { RootCA } from "@starling/ca";
import { all, byName } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TestCluster } from "./test-cluster.ts";

let subscribed: SubscribeLogsRequest | undefined;
const logs = {
  async *subscribeLogs(request: SubscribeLogsRequest) {
    subscribed = request;
    const line = (text: string, stream: LogStream) =>
      LogMessage.create({
        context: LogContext.create({ taskId: "task-1", nodeId: "node-a", serviceId: request.selector!.serviceIds[0]! }),
        stream,
        data: Buffer.from(text),
      });
    yield SubscribeLogsMessage.create({ messages: [line("hello\nwor", LogStream.LOG_STREAM_STDOUT)] });
    yield SubscribeLogsMessage.create({
      messages: [line("oops\n", LogStream.LOG_STREAM_STDERR), line("ld\nrest", LogStream.LOG_STREAM_STDOUT)],
    });
  },
};

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await TestCluster.start({ logs });
});
afterEach(() => cluster.stop());

const serviceNamed = (name: string): Service => cluster.store.view((tx) => tx.services.find(byName(name))[0]!);

/** Makes a task of the service's present spec, as the orchestrator and an agent would together. */
async function addTask(service: Service, slot: number, state: TaskState, init: Partial<Task> = {}): Promise<string> {
  const id = newId();
  await cluster.store.update((tx) => {
    tx.tasks.create(
      Task.create({
        id,
        serviceId: service.id,
        slot,
        nodeId: slot % 2 === 1 ? "node-a" : "node-b",
        spec: service.spec.task,
        specVersion: service.specVersion,
        serviceAnnotations: service.spec.annotations,
        desiredState: TaskState.RUNNING,
        status: TaskStatus.create({ state, timestamp: timestampOfMs(Date.now()) }),
        ...init,
      }),
    );
  });
  return id;
}

describe("errors", () => {
  it.each<[string, string[], number, RegExp]>([
    [
      "an unknown command",
      ["service", "crate"],
      2,
      /^Error: swarmctl service has no command "crate": use one of create/,
    ],
    ["an unknown noun", ["sevice"], 2, /^Error: unknown command 'sevice'.*did you mean service/],
    ["an unknown flag", ["service", "ls", "--quite"], 2, /^Error: unknown option '--quite'.*--quiet/],
    ["a missing argument", ["service", "rm"], 2, /^Error: missing required argument 'service'/],
    ["a malformed value", ["service", "scale", "web=x"], 2, /^Error: "web=x": "x" is not a whole number/],
    ["an unknown format", ["node", "ls", "--format", "yaml"], 2, /^Error: --format "yaml" is not one of/],
    ["an unknown object", ["service", "rm", "web"], 1, /^Error: service "web" not found: see swarmctl service ls\n$/],
    [
      "a missing socket",
      ["-s", "/nowhere", "node", "ls"],
      1,
      /^Error: cannot reach the Swarm manager at \/nowhere: there is no such socket: run this on a manager/,
    ],
    ["a refused value", ["network", "create", "a.b"], 1, /^Error: name must be valid as a DNS name component/],
  ])("%s: one line and an exit code", async (_what, words, code, message) => {
    const result = await cluster.run(...words);
    expect(result.code).toBe(code);
    expect(result.err).toMatch(message);
    expect(result.err.match(/\n/g)).toHaveLength(1);
    expect(result.out).toBe("");
  });

  it("an ambiguous id lists the candidates", async () => {
    expect((await cluster.run("node", "inspect", "node-")).err).toBe(
      'Error: node "node-" is ambiguous: give the id of one of node-a (m1), node-b (w1)\n',
    );
  });
});

describe("lists", () => {
  it("node ls: table, JSON and ids", async () => {
    expect((await cluster.run("node", "ls")).out).toBe(
      [
        "ID       HOSTNAME   STATUS   AVAILABILITY   MANAGER STATUS   ENGINE VERSION",
        "node-a   m1         Ready    Active",
        "node-b   w1         Ready    Active",
        "",
      ].join("\n"),
    );
    expect(JSON.parse((await cluster.run("node", "ls", "--format", "json")).out)[1]).toMatchObject({
      id: "node-b",
      hostname: "w1",
      status: "READY",
      availability: "ACTIVE",
      managerStatus: null,
    });
    expect((await cluster.run("node", "ls", "-q", "--filter", "role=worker")).out).toBe("node-b\n");
  });

  it("service ls and ps show what runs and why something does not", async () => {
    const create = ["service", "create", "-d", "--name", "web", "--replicas", "2", "-p", "8080:80", "reg:5000/web:1"];
    expect((await cluster.run(...create)).code).toBe(0);
    const service = serviceNamed("web");
    await addTask(service, 1, TaskState.RUNNING);
    await addTask(service, 2, TaskState.REJECTED, {
      desiredState: TaskState.SHUTDOWN,
      status: TaskStatus.create({ state: TaskState.REJECTED, err: "no such image: web:1" }),
    });
    const [row] = JSON.parse((await cluster.run("service", "ls", "--format", "json")).out);
    expect(row).toMatchObject({ name: "web", mode: "replicated", replicas: "1/2", running: 1, desired: 2 });
    expect((await cluster.run("service", "ls")).out).toContain("1/2        reg:5000/web:1   *:8080->80/tcp");
    const ps = await cluster.run("service", "ps", "web");
    expect(ps.out).toMatch(/web\.1 +reg:5000\/web:1 +m1 +Running +Running .* ago/);
    expect(ps.out).toMatch(/web\.2 +reg:5000\/web:1 +w1 +Shutdown +Rejected +"no such image: web:1"/);
    const tasks = JSON.parse((await cluster.run("service", "ps", "web", "--format", "json")).out);
    expect(
      tasks.map((task: Record<string, unknown>) => [task["name"], task["node"], task["currentState"], task["error"]]),
    ).toEqual([
      ["web.1", "m1", "RUNNING", ""],
      ["web.2", "w1", "REJECTED", "no such image: web:1"],
    ]);
    expect((await cluster.run("-n", "service", "ps", "web")).out).toContain("node-a");
  });

  it("service inspect: one object, states as words", async () => {
    await cluster.run("service", "create", "-d", "--name", "web", "web:1");
    expect(JSON.parse((await cluster.run("service", "inspect", "web")).out)).toMatchObject({
      spec: { annotations: { name: "web" }, replicated: { replicas: 1 }, task: { container: { image: "web:1" } } },
    });
    expect((await cluster.run("service", "inspect", "--pretty", "web")).out).toContain("Service Mode:      replicated");
  });
});

describe("changes", () => {
  it("scale, update and rollback reach the spec; history hangs below", async () => {
    await cluster.run("service", "create", "-d", "--name", "web", "web:1");
    expect(await cluster.run("service", "scale", "-d", "web=4")).toMatchObject({ code: 0, out: "web scaled to 4\n" });
    await cluster.run("service", "update", "-d", "--image", "web:2", "web");
    expect(serviceNamed("web").spec).toMatchObject({
      replicated: { replicas: 4 },
      task: { container: { image: "web:2" } },
    });
    expect((await cluster.run("service", "update", "--rollback", "-d", "web")).code).toBe(0);
    expect(serviceNamed("web").spec.task.container?.image).toBe("web:1");
    expect((await cluster.run("service", "rm", "web", "nope")).err).toContain('service "nope" not found');
    expect(cluster.store.view((tx) => tx.services.find(all))).toEqual([]);
  });

  it("names a network and a secret by name, sends ids", async () => {
    const network = (await cluster.run("network", "create", "--subnet", "10.5.0.0/24", "net")).out.trim();
    const secret = (await cluster.runWith({ input: "s3cret" }, "secret", "create", "key")).out.trim();
    await cluster.run("service", "create", "-d", "--name", "web", "--network", "net", "--secret", "key", "web:1");
    const { task } = serviceNamed("web").spec;
    expect(task.networks[0]?.target).toBe(network);
    expect(task.container?.secrets[0]).toMatchObject({ secretId: secret, secretName: "key", file: { name: "key" } });
    expect(cluster.store.view((tx) => Buffer.from(tx.secrets.get(secret)!.spec.data).toString())).toBe("s3cret");
  });

  it("nodes are drained and labelled", async () => {
    expect(await cluster.run("node", "drain", "w1")).toMatchObject({ code: 0, out: "w1\n" });
    await cluster.run("node", "update", "--availability", "active", "--label-add", "zone=b", "w1");
    expect(cluster.store.view((tx) => tx.nodes.get("node-b")!.spec)).toMatchObject({
      availability: 0,
      annotations: { labels: { zone: "b" } },
    });
  });

  it("join tokens are shown and rotated", async () => {
    expect((await cluster.run("cluster", "join-token", "worker", "-q")).out).toBe("SWMTKN-1-d-w\n");
    const rotated = (await cluster.run("cluster", "join-token", "worker", "-q", "--rotate")).out;
    expect(rotated).toMatch(/^SWMTKN-1-d-[0-9a-z]{25}\n$/);
    expect((await cluster.run("cluster", "join-token", "worker", "-q")).out).toBe(rotated);
    expect((await cluster.run("cluster", "join-token", "manager")).out).toContain("--join-token SWMTKN-1-d-m");
  });
});

describe("waiting", () => {
  const setUpdateStatus = (name: string, state: UpdateStatus_UpdateState, message: string) =>
    cluster.store.update((tx) => {
      tx.services.update({
        ...tx.services.find(byName(name))[0]!,
        updateStatus: UpdateStatus.create({ state, message }),
      });
    });

  it("create: shows each change and ends once the tasks run", async () => {
    const steps: string[] = [];
    const created = cluster.runWith(
      {
        async onOut(text) {
          steps.push(text.trim());
          const service = serviceNamed("web");
          if (text.includes("0 of 2")) await addTask(service, 1, TaskState.RUNNING);
          if (text.includes("1 of 2")) await addTask(service, 2, TaskState.RUNNING);
        },
      },
      "service",
      "create",
      "--name",
      "web",
      "--replicas",
      "2",
      "web:1",
    );
    expect((await created).code).toBe(0);
    expect(steps.slice(1)).toEqual([
      "overall progress: 0 of 2 tasks",
      "overall progress: 1 of 2 tasks",
      "overall progress: 2 of 2 tasks",
      "verify: Service web converged",
    ]);
  });

  it("create: gives up after --wait-timeout, and says what is missing", async () => {
    const given = ["--name", "slow", "--wait-timeout", "1ms", "web:1"];
    const { code, err } = await cluster.run("service", "create", ...given);
    expect(code).toBe(1);
    expect(err).toMatch(/service slow has not converged in time: 0 of 1 tasks: see swarmctl service ps slow/);
    expect(serviceNamed("slow")).toBeDefined();
  });

  it("where tasks are placed, and whether they are moved, is set for the cluster and for a service, and taken back", async () => {
    const labels = () => cluster.store.view((tx) => tx.clusters.get("cluster-id")!.spec.annotations.labels);
    const settings = ["--rebalance", "on", "--rebalance-rate", "12", "--rebalance-settle", "30s"];
    await cluster.run("cluster", "update", "--placement-strategy", "binpack", ...settings);
    expect(labels()).toEqual({
      "io.starling.placement-strategy": "binpack",
      "io.starling.rebalance": "on",
      "io.starling.rebalance.rate": "12",
      "io.starling.rebalance.settle": "30s",
    });
    const { code, err } = await cluster.run("cluster", "update", "--rebalance-rate", "0");
    expect(code).toBe(1);
    expect(err).toContain('label io.starling.rebalance.rate="0" is not a number of tasks a minute');
    const own = ["--detach", "--placement-strategy", "spread", "--rebalance", "off", "web:1"];
    await cluster.run("service", "create", "--name", "own", ...own);
    expect(serviceNamed("own")!.spec.annotations.labels).toEqual({
      "io.starling.placement-strategy": "spread",
      "io.starling.rebalance": "off",
    });
    await cluster.run("service", "update", "--detach", "--rebalance", "", "own");
    expect(serviceNamed("own")!.spec.annotations.labels).toEqual({ "io.starling.placement-strategy": "spread" });
    const all = ["--placement-strategy", "", "--rebalance", "", "--rebalance-rate", "", "--rebalance-settle", ""];
    await cluster.run("cluster", "update", ...all);
    expect(labels()).toEqual({});
  });

  it("how long silent nodes are waited for is set for the cluster and for a node, and taken back", async () => {
    const labels = () =>
      cluster.store.view((tx) => ({
        cluster: tx.clusters.get("cluster-id")!.spec.annotations.labels,
        node: tx.nodes.get("node-b")!.spec.annotations.labels,
      }));
    await cluster.run("cluster", "update", "--move-after", "10s", "--restart-grace", "2m");
    await cluster.run("node", "update", "--alert-after", "5s", "w1");
    expect(labels()).toEqual({
      cluster: { "io.starling.node.move-after": "10s", "io.starling.node.restart-grace": "2m" },
      node: { "io.starling.node.alert-after": "5s" },
    });
    await cluster.run("node", "update", "--alert-after", "", "w1");
    expect(labels().node).toEqual({});
    const { code, err } = await cluster.run("cluster", "update", "--move-after", "soon");
    expect(code).toBe(1);
    expect(err).toContain('label io.starling.node.move-after="soon" is not a duration');
    await cluster.run("cluster", "update", "--flap-losses", "5", "--flap-hold", "1m", "--move-after", "");
    expect(labels().cluster).toMatchObject({ "io.starling.node.flap-losses": "5", "io.starling.node.flap-hold": "1m" });
    const refused = await cluster.run("node", "update", "--flap-losses", "few", "w1");
    expect(refused.err).toContain('label io.starling.node.flap-losses="few" is not a whole number from 0 to 1000');
  });

  it("the root CA is shown, and flags that change it need --rotate", async () => {
    const root = await RootCA.create(Date.now());
    const object = () => cluster.store.view((tx) => tx.clusters.get("cluster-id"))!;
    const caCert = Buffer.from(root.certificatePem);
    await cluster.store.update((tx) => tx.clusters.update({ ...object(), rootCa: { ...object().rootCa, caCert } }));
    expect(await cluster.run("cluster", "ca")).toMatchObject({ code: 0, out: root.certificatePem });
    const pem = join(mkdtempSync(join(tmpdir(), "swarmctl-ca-")), "ca.pem");
    writeFileSync(pem, root.certificatePem);
    for (const [words, message] of [
      [["--cert-expiry", "2h"], "--cert-expiry requires the --rotate flag to update the CA"],
      [["--rotate", "--abort"], "--rotate and --abort exclude each other"],
      [["--rotate", "--ca-key", pem], "--ca-key requires the --ca-cert flag"],
      [["--rotate", "--ca-cert", "/nowhere"], "/nowhere"],
      [["--rotate", "--external-ca", "protocol=cfssl"], "url=https://… is missing"],
    ] as const) {
      expect(await cluster.run("cluster", "ca", ...words)).toMatchObject({
        code: 2,
        err: expect.stringContaining(message),
      });
    }
    rmSync(dirname(pem), { recursive: true });
    const { code, err } = await cluster.run("cluster", "ca", "--abort");
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining("no root rotation to give up") });
  });

  it("a root rotation that waits is shown with the nodes that it waits for", async () => {
    const [old, next] = [await RootCA.create(Date.now()), await RootCA.create(Date.now())];
    const bytes = ({ certificatePem }: RootCA) => Buffer.from(certificatePem);
    await cluster.store.update((tx) => {
      const object = tx.clusters.get("cluster-id")!;
      const rootRotation = { caCert: bytes(next), caKey: Buffer.from("k"), crossSignedCaCert: bytes(next) };
      tx.clusters.update({ ...object, rootCa: { ...object.rootCa, caCert: bytes(old), rootRotation } });
      const node = tx.nodes.get("node-b")!;
      tx.nodes.update({ ...node, status: { ...node.status, state: NodeStatus_State.DOWN } });
    });
    expect((await cluster.run("cluster", "inspect", "--pretty", "default")).out).toMatch(
      /Root rotation: +0 of 2 nodes have a certificate of the new root, waiting for (m1, w1 \(down\)|w1 \(down\), m1)\n/,
    );
  });

  it("node drain --wait returns when nothing of the node's runs any more", async () => {
    await cluster.run("service", "create", "-d", "--name", "web", "web:1");
    const id = await addTask(serviceNamed("web"), 2, TaskState.RUNNING);
    const late = await cluster.run("node", "drain", "--wait-timeout", "1ms", "w1");
    expect(late).toMatchObject({
      code: 1,
      err: expect.stringContaining("node w1 is not empty in time: web.2 (running)"),
    });
    const waiting = cluster.run("node", "drain", "--wait", "w1");
    await cluster.store.update((tx) => {
      const task = tx.tasks.get(id)!;
      tx.tasks.update({ ...task, status: { ...task.status, state: TaskState.SHUTDOWN } });
    });
    expect(await waiting).toMatchObject({ code: 0, out: "w1\n" });
  });

  it("create: fails with the reason when a task keeps being rejected, and the service stays", async () => {
    const status = TaskStatus.create({ state: TaskState.REJECTED, err: "no such image" });
    const result = await cluster.runWith(
      {
        async onOut(text) {
          if (!text.includes("0 of 1")) return;
          for (let i = 0; i < 3; i++) await addTask(serviceNamed("web"), 1, TaskState.REJECTED, { status });
        },
      },
      "service",
      "create",
      "--no-resolve-image",
      "--name",
      "web",
      "nope:1",
    );
    expect(result.code).toBe(1);
    expect(result.err).toBe(
      "Error: service web does not converge: task web.1 has ended 3 times: no such image: see swarmctl service ps web\n",
    );
    expect(serviceNamed("web").spec.task.container?.image).toBe("nope:1");
  });

  it("update: fails when the update is paused or rolled back", async () => {
    await cluster.run("service", "create", "-d", "--name", "web", "web:1");
    for (const [state, message] of [
      [UpdateStatus_UpdateState.PAUSED, "service update paused: because of t1"],
      [UpdateStatus_UpdateState.ROLLBACK_COMPLETED, "service rolled back: because of t1"],
    ] as const) {
      const result = await cluster.runWith(
        { onOut: (text) => void (text === "web\n" && setUpdateStatus("web", state, "because of t1")) },
        "service",
        "update",
        "--no-resolve-image",
        "--image",
        "web:2",
        "web",
      );
      expect([result.code, result.err]).toEqual([
        1,
        `Error: service web does not converge: ${message}: see swarmctl service ps web\n`,
      ]);
    }
  });

  it("Ctrl-C leaves the service being deployed and says so", async () => {
    const interrupt = new AbortController();
    const result = await cluster.runWith(
      { signal: interrupt.signal, onOut: (text) => void (text.includes("0 of 1") && interrupt.abort()) },
      "service",
      "create",
      "--name",
      "web",
      "web:1",
    );
    expect(result.code).toBe(130);
    expect(result.err).toContain("Operation continuing in background.");
    expect(serviceNamed("web").spec.annotations.name).toBe("web");
  });
});

it("logs: lines under the task's name, unfinished ones put together, standard error apart", async () => {
  await cluster.run("service", "create", "-d", "--name", "web", "web:1");
  await addTask(serviceNamed("web"), 1, TaskState.RUNNING, { id: "task-1" });
  const result = await cluster.run("service", "logs", "--tail", "10", "web");
  expect(result.out).toBe(["hello", "world", "rest"].map((line) => `web.1.task-1@m1    | ${line}\n`).join(""));
  expect(result.err).toBe("web.1.task-1@m1    | oops\n");
  expect(subscribed?.options).toMatchObject({ tail: -11, follow: false });
  expect((await cluster.run("service", "logs", "--raw", "web")).out).toBe("hello\nworld\nrest");
});

it("completion offers nouns, verbs, flags and names", async () => {
  const complete = async (...words: string[]) =>
    (await cluster.run("__complete", "--", ...words)).out.trim().split("\n");
  expect(await complete("ser")).toEqual(["service"]);
  expect(await complete("service", "r")).toEqual(["rm", "rollback"]);
  expect(await complete("service", "create", "--repl")).toEqual(["--replicas", "--replicas-max-per-node"]);
  expect(await complete("node", "inspect", "")).toEqual(["m1", "w1"]);
  expect(await complete("service", "create", "--network", "in")).toEqual(["ingress"]);
  expect((await cluster.run("completion", "tcsh")).err).toContain('"tcsh" is not one of bash, zsh, fish');
});

it("help shows a command's flags, by either spelling", async () => {
  const help = await cluster.run("service", "create", "--help");
  expect(help).toMatchObject({ code: 0, err: "" });
  expect(help.out).toContain("--publish <port>");
  expect(await cluster.run("help", "service", "create")).toEqual(help);
});

it("tasks that ended show their exit code", async () => {
  await cluster.run("service", "create", "-d", "--name", "web", "web:1");
  const status = TaskStatus.create({
    state: TaskState.FAILED,
    err: "task: non-zero exit (3)",
    container: ContainerStatus.create({ exitCode: 3 }),
  });
  const spec = TaskSpec.create({ container: ContainerSpec.create({ image: "web:1" }) });
  const id = await addTask(serviceNamed("web"), 1, TaskState.FAILED, {
    status,
    spec,
    annotations: Annotations.create(),
  });
  const [task] = JSON.parse((await cluster.run("task", "ls", "-a", "--format", "json")).out);
  expect(task).toMatchObject({ id, exitCode: 3, error: "task: non-zero exit (3)" });
  expect((await cluster.run("task", "inspect", "--pretty", id.slice(0, 8))).out).toContain("Exit code:        3");
});
