import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import {
  CA,
  ContainerSpec,
  Dispatcher,
  LogBroker,
  LogSelector,
  Logs,
  NodeCA,
  NodeStatus_State,
  Secret,
  SecretReference,
  type ServiceTable,
  SubscribeLogsRequest,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
} from "@starling/api";
import { addService, forwardToLeader, type Handlers, type LeaderRoute, RpcClient } from "@starling/api/rpc";
import { nullLogger, seededRandom, systemClock } from "@starling/base";
import {
  bootstrapIdentity,
  clientCredentials,
  createCaServer,
  joinCluster,
  type NodeIdentity,
  newCluster,
  serverCredentials,
} from "@starling/ca";
import { createDispatcher, weightedPeers } from "@starling/dispatcher";
import { createLogBroker } from "@starling/log-broker";
import { Agent, type DependencySink } from "@starling/node-agent";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeExecutor } from "../../node-agent/src/test-executor.ts";

const random = seededRandom(1);
const log = nullLogger;
const clock = systemClock;
let dir: string;
let store: MemoryStore;
let manager: Manager;
let cleanups: (() => unknown)[];

type Manager = Awaited<ReturnType<typeof startManager>>;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "starling-agent-"));
  cleanups = [() => rmSync(dir, { recursive: true })];
  store = new MemoryStore();
  manager = await startManager();
  cleanups.push(() => manager.stop());
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

/** A manager's CA and dispatcher on loopback; `step` ends the dispatcher's lead and begins another. */
async function startManager() {
  const identity = await bootstrapIdentity(join(dir, "m1"), clock);
  const clusterId = identity.organization;
  const rootCA = (await identity.bootstrapRoot())!;
  const cluster = await store.update((tx) => tx.clusters.create(newCluster({ clusterId, rootCA })));
  const server = new grpc.Server();
  const options = { authorize: "roles", organization: () => clusterId } as const;
  const { ca, nodeCa } = createCaServer({ store, clusterId, identity, clock, log });
  const address = { value: "" };
  const dispatcher = createDispatcher({
    store,
    clusterId,
    ownNodeId: identity.nodeId,
    clock,
    random,
    log,
    probeHost: async () => false,
    peers: {
      current: () => weightedPeers([{ nodeId: identity.nodeId, addr: address.value }]),
      subscribe: () => () => undefined,
    },
  });
  addService(server, CA, ca, options);
  addService(server, NodeCA, nodeCa, options);
  addService(server, Dispatcher, dispatcher.handlers, options);
  const broker = createLogBroker({ store, log });
  addService(server, LogBroker, broker.logBroker, options);
  addService(server, Logs, broker.logs, options);
  address.value = await listen(server, identity);
  let lead = new AbortController();
  const run = () => Promise.all([dispatcher.run(lead.signal), broker.run(lead.signal)]);
  let running = run();
  return {
    identity,
    address: address.value,
    token: cluster.rootCa.joinTokens.worker,
    managerToken: cluster.rootCa.joinTokens.manager,
    step: async () => {
      lead.abort();
      await running;
      lead = new AbortController();
      running = run();
    },
    stop: async () => {
      lead.abort();
      await running;
      server.forceShutdown();
    },
  };
}

async function joinAs(name: string, address = manager.address, token = manager.token) {
  return await joinCluster({ addresses: [address], token, stateDir: join(dir, name), clock, log });
}

async function listen(server: grpc.Server, identity: NodeIdentity): Promise<string> {
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", serverCredentials(identity), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  return `127.0.0.1:${port}`;
}

/** A second manager, which does not lead: it relays to the first. Returns its address. */
async function startRelay(): Promise<string> {
  const identity = await joinAs("m2", manager.address, manager.managerToken);
  const client = new RpcClient(manager.address, clientCredentials(identity));
  const never = new AbortController().signal;
  const route: LeaderRoute = {
    isLeader: () => false,
    leadingSignal: () => never,
    resolve: async () => ({ client, signal: never }),
    ownAddress: "m2",
  };
  const server = new grpc.Server();
  const options = { authorize: "roles", organization: () => identity.organization } as const;
  const relay = <S extends ServiceTable>(table: S) =>
    addService(server, table, forwardToLeader(table, {} as Handlers<S>, route), options);
  for (const table of [CA, NodeCA, Dispatcher, LogBroker]) relay<ServiceTable>(table);
  cleanups.push(() => {
    server.forceShutdown();
    client.close();
  });
  return await listen(server, identity);
}

/** An agent of a node that joined; `stop` leaves its containers (the executor's controllers) as they are. */
async function startAgent(
  options: { identity?: Awaited<ReturnType<typeof joinAs>>; executor?: FakeExecutor; managers?: string[] } = {},
) {
  const identity = options.identity ?? (await joinAs("w1"));
  const executor = options.executor ?? new FakeExecutor();
  const told: string[] = [];
  const sessions: string[] = [];
  const dependencies: DependencySink = {
    setSecret: ({ id }) => told.push(`+${id}`),
    removeSecret: (id) => told.push(`-${id}`),
    setConfig: ({ id }) => told.push(`+${id}`),
    removeConfig: (id) => told.push(`-${id}`),
  };
  const agent = new Agent({
    nodeId: identity.nodeId,
    executor,
    connect: (address) => new RpcClient(address, clientCredentials(identity)),
    managers: options.managers ?? [manager.address],
    stateDir: join(dir, "w1"),
    dependencies,
    tlsInfo: () => identity.tlsInfo,
    clock,
    random,
    log,
    onSession: ({ id }) => void sessions.push(id),
  });
  const stopping = new AbortController();
  const running = agent.run(stopping.signal);
  const stop = async () => {
    stopping.abort();
    await running;
  };
  cleanups.push(stop);
  return { agent, identity, executor, told, sessions, stop, nodeId: identity.nodeId };
}

/** The store's state when `holds` first gives something. */
async function until<T>(holds: () => T | undefined | false): Promise<T> {
  const limit = AbortSignal.timeout(10_000);
  const { events } = store.viewAndWatch(() => undefined, { signal: limit });
  for (;;) {
    const found = holds();
    if (found) return found;
    const { done } = await events[Symbol.asyncIterator]().next();
    if (done) throw new Error("not within 10 s");
  }
}

const task = (id: string) => store.view((tx) => tx.tasks.get(id));
const node = (id: string) => store.view((tx) => tx.nodes.get(id))!;
const inState = (id: string, state: TaskState) => until(() => task(id)?.status.state === state && task(id));
const isReady = (id: string) => until(() => node(id).status.state === NodeStatus_State.READY);

async function assign(nodeId: string, id: string, uses: readonly string[] = []) {
  const secrets = uses.map((secretId) => SecretReference.create({ secretId }));
  await store.update((tx) =>
    tx.tasks.create(
      Task.create({
        id,
        nodeId,
        desiredState: TaskState.RUNNING,
        status: TaskStatus.create({ state: TaskState.ASSIGNED }),
        spec: TaskSpec.create({ container: ContainerSpec.create({ secrets }) }),
      }),
    ),
  );
}
const desire = (id: string, desiredState: TaskState) =>
  store.update((tx) => tx.tasks.update({ ...tx.tasks.get(id)!, desiredState }));

describe("an agent", () => {
  it("registers its node with what it trusts, runs what is assigned and reports it", async () => {
    const { nodeId, executor, told } = await startAgent();
    await isReady(nodeId);
    expect(node(nodeId)).toMatchObject({ description: { hostname: "host" }, status: { addr: "127.0.0.1" } });
    expect(node(nodeId).description?.tlsInfo?.trustRoot.length).toBeGreaterThan(0);
    await store.update((tx) => tx.secrets.create(Secret.create({ id: "s1" })));
    await assign(nodeId, "t1", ["s1"]);
    const running = await inState("t1", TaskState.RUNNING);
    expect(running.status.container?.containerId).toBe("fake");
    expect(told).toEqual(["+s1"]);
    await desire("t1", TaskState.SHUTDOWN);
    await inState("t1", TaskState.SHUTDOWN);
    await store.update((tx) => tx.tasks.delete("t1"));
    await expect.poll(() => executor.controllers.get("t1")?.calls.at(-1)).toBe("remove");
    expect(told).toEqual(["+s1", "-s1"]);
  });

  it("tells a description that changed over the session at hand", async () => {
    const { agent, nodeId, executor, sessions } = await startAgent();
    await isReady(nodeId);
    executor.hostname = "renamed";
    agent.describeNow();
    await until(() => node(nodeId).description?.hostname === "renamed");
    expect(sessions).toHaveLength(1);
  });

  it("goes on after a change of leader, without touching what runs", async () => {
    const { nodeId, executor } = await startAgent();
    await assign(nodeId, "t1");
    await inState("t1", TaskState.RUNNING);
    await manager.step();
    await isReady(nodeId);
    await assign(nodeId, "t2");
    await inState("t2", TaskState.RUNNING);
    expect(executor.controllers.get("t1")?.calls).toEqual(["prepare", "start", "wait"]);
  });

  it("that starts again waits for what runs, and reports what ended while no manager was there", async () => {
    const { identity, nodeId, executor, stop } = await startAgent();
    await assign(nodeId, "t1");
    await inState("t1", TaskState.RUNNING);
    await stop();
    const controller = executor.controllers.get("t1")!;
    controller.exit();
    controller.calls.length = 0;
    const again = new FakeExecutor();
    again.controllers.set("t1", controller);
    const nowhere = "127.0.0.1:1";
    const lonely = await startAgent({ identity, executor: again, managers: [nowhere] });
    await expect.poll(() => controller.calls).toEqual(["wait"]);
    expect(again.known.map((ids) => [...ids])).toEqual([["t1"]]);
    await lonely.stop();
    await startAgent({ identity, executor: again, managers: [nowhere, manager.address] });
    await inState("t1", TaskState.COMPLETE);
  });

  it("removes what its managers no longer know", async () => {
    const { identity, nodeId, executor, stop } = await startAgent();
    await assign(nodeId, "t1");
    await inState("t1", TaskState.RUNNING);
    await stop();
    await store.update((tx) => tx.tasks.delete("t1"));
    await startAgent({ identity, executor });
    await expect.poll(() => executor.controllers.get("t1")?.calls.slice(-2)).toEqual(["terminate", "remove"]);
  });

  it("is served the same through a manager that relays to the leader", async () => {
    const relay = await startRelay();
    const identity = await joinAs("w1", relay);
    const { nodeId, executor } = await startAgent({ identity, managers: [relay] });
    await assign(nodeId, "t1");
    await inState("t1", TaskState.RUNNING);
    expect(node(nodeId).status).toMatchObject({ state: NodeStatus_State.READY, addr: "127.0.0.1" });
    await manager.step();
    await desire("t1", TaskState.SHUTDOWN);
    await inState("t1", TaskState.SHUTDOWN);
    expect(executor.controllers.get("t1")?.calls.filter((call) => call === "start")).toHaveLength(1);
  });

  it("sends its tasks' output to who subscribes at the managers", async () => {
    const { nodeId } = await startAgent();
    await assign(nodeId, "t1");
    await inState("t1", TaskState.RUNNING);
    const client = new RpcClient(manager.address, clientCredentials(manager.identity));
    cleanups.push(() => client.close());
    const request = SubscribeLogsRequest.create({ selector: LogSelector.create({ taskIds: ["t1"] }) });
    const lines: string[] = [];
    for await (const { messages } of client.stream(Logs.methods.subscribeLogs, request)) {
      for (const { context, data } of messages) lines.push(`${context.taskId} ${Buffer.from(data)}`);
    }
    expect(lines).toEqual(["t1 hello\n"]);
  });

  it("takes milliseconds from assignment to RUNNING", async () => {
    const { nodeId } = await startAgent();
    await isReady(nodeId);
    const took: number[] = [];
    for (let i = 0; i < 10; i++) {
      const begun = performance.now();
      await assign(nodeId, `t${i}`);
      await inState(`t${i}`, TaskState.RUNNING);
      took.push(performance.now() - begun);
    }
    const median = took.sort((a, b) => a - b)[5]!;
    console.log(`assignment to RUNNING: median ${median.toFixed(1)} ms`);
    expect(median).toBeLessThan(250);
  });
});
