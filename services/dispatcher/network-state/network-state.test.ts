import {
  Annotations,
  ContainerSpec,
  Driver,
  dataPathLabel,
  Endpoint,
  Endpoint_VirtualIP,
  EngineDescription,
  InspectNetworkRequest,
  IPAMConfig,
  IPAMOptions,
  Network,
  NetworkAttachment,
  NetworkAttachmentConfig,
  NetworkInspection,
  NetworkSpec,
  type NetworkStateMessage,
  NetworkStateQuestion_Kind,
  NetworkStateReport,
  Node,
  NodeDescription,
  NodeRole,
  NodeStatus_State,
  networkKeysLabel,
  networkRelayLabel,
  PortConfig,
  publishNotReadyLabel,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
} from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createNetworkStateHandlers } from "./index.ts";

const clock = new FakeClock();
let stop = new AbortController();
beforeEach(() => {
  stop = new AbortController();
});
afterEach(() => stop.abort());

function network(id: string, vni: number, ingress = false): Network {
  return Network.create({
    id,
    spec: NetworkSpec.create({ annotations: Annotations.create({ name: id }), ingress }),
    driverState: Driver.create({
      name: "overlay",
      options: { "com.docker.network.driver.overlay.vxlanid_list": String(vni) },
    }),
    ipam: IPAMOptions.create({ configs: [IPAMConfig.create({ subnet: `10.0.${vni % 256}.0/24` })] }),
  });
}

function node(id: string, addr: string): Node {
  const attachments = [NetworkAttachment.create({ network: network("ing", 4096, true), addresses: ["10.255.0.9/16"] })];
  const made = Node.create({ id, attachments });
  return { ...made, status: { ...made.status, addr } };
}

const web = Service.create({
  id: "web",
  spec: ServiceSpec.create({
    annotations: Annotations.create({ name: "web" }),
    task: TaskSpec.create({ networks: [NetworkAttachmentConfig.create({ target: "front", aliases: ["www"] })] }),
  }),
  endpoint: Endpoint.create({
    ports: [PortConfig.create({ targetPort: 80, publishedPort: 8080 })],
    virtualIps: [Endpoint_VirtualIP.create({ networkId: "front", addr: "10.0.1.2/24" })],
  }),
});

function task(id: string, nodeId: string, networks: readonly Network[], state: TaskState = TaskState.RUNNING): Task {
  return Task.create({
    id,
    nodeId,
    serviceId: "web",
    slot: 1,
    serviceAnnotations: Annotations.create({ name: "web" }),
    desiredState: TaskState.RUNNING,
    status: TaskStatus.create({ state }),
    networks: networks.map((on) =>
      NetworkAttachment.create({ network: on, addresses: [`10.0.1.${id.charCodeAt(1)}/24`] }),
    ),
  });
}

/** Short words for the changes of a message: `+endpoint front/t1 serving`. */
function words(message: NetworkStateMessage): readonly string[] {
  return message.changes
    .map(({ action, network, node, service, endpoint }) => {
      const sign = action === 0 ? "+" : "-";
      if (network) return `${sign}network ${network.id} ${network.vni}`;
      if (node) return `${sign}node ${node.id} ${node.underlayAddress} ${node.meshAddress}`;
      if (service)
        return `${sign}service ${service.id} vip=${service.networks.map((n) => n.virtualIp)} ports=${service.ports.length}`;
      return `${sign}endpoint ${endpoint?.networkId}/${endpoint?.taskId}${endpoint?.serving ? " serving" : ""}${endpoint?.drained ? " drained" : ""}`;
    })
    .sort();
}

async function fixture() {
  const [front, back, ing] = [network("front", 4097), network("back", 4098), network("ing", 4096, true)];
  const store = new MemoryStore({ clock });
  await store.update((tx) => {
    for (const made of [front, back, ing]) tx.networks.create(made);
    for (const made of [node("n1", "192.168.0.1"), node("n2", "192.168.0.2:4242")]) tx.nodes.create(made);
    tx.services.create(web);
    tx.tasks.create(task("t1", "n1", [ing, front]));
    tx.tasks.create(task("t2", "n2", [back]));
  });
  const handlers = createNetworkStateHandlers({ store, clock, log: nullLogger });
  const as = (nodeId: string, signal = stop.signal): CallContext => {
    const caller = { nodeId, roles: [], organization: "", forwarded: false };
    return { caller, signal, remoteAddress: "" } as unknown as CallContext;
  };
  const watch = (nodeId: string, signal = stop.signal) =>
    handlers.state.watch({}, as(nodeId, signal))[Symbol.asyncIterator]();
  const report = (nodeId: string, fields: Partial<NetworkStateReport>) =>
    handlers.state.report(NetworkStateReport.create(fields), as(nodeId));
  const inspect = (fields: Partial<InspectNetworkRequest>) =>
    handlers.diagnosis.inspect(InspectNetworkRequest.create(fields), as("manager"));
  return { store, watch, report, inspect, front };
}

it("tells a node all of its own networks and the mesh, and nothing of other networks", async () => {
  const { watch } = await fixture();
  const first = (await watch("n1").next()).value as NetworkStateMessage;
  expect(first).toMatchObject({ type: 0, sequence: 1 });
  expect(words(first)).toEqual([
    "+endpoint front/t1 serving",
    "+endpoint ing/t1 serving",
    "+network front 4097",
    "+network ing 4096",
    "+node n1 192.168.0.1 10.255.0.9/16",
    "+node n2 192.168.0.2 10.255.0.9/16",
    "+service web vip=10.0.1.2 ports=1",
  ]);
});

it("says where a node's packets go: what it asks for, else where it called from", async () => {
  const { store, watch } = await fixture();
  await store.update((tx) => {
    const named = (id: string, change: (made: Node) => Partial<Node>) => {
      const made = node(id, "10.1.0.1:999");
      tx.nodes.create({ ...made, ...change(made) });
    };
    const engine = EngineDescription.create({ labels: { [dataPathLabel]: "FD00:0::5" } });
    named("asks", () => ({ description: NodeDescription.create({ engine }), vxlanUdpPort: 4790 }));
    named("nowhere", (made) => ({ status: { ...made.status, addr: "127.0.0.1" } }));
    named("link", (made) => ({ status: { ...made.status, addr: "fe80::1" } }));
  });
  const first = (await watch("n1").next()).value as NetworkStateMessage;
  const places = first.changes.flatMap((change) =>
    change.node ? [[change.node.id, change.node.underlayAddress, change.node.vxlanPort]] : [],
  );
  expect(Object.fromEntries(places.map(([id, ...rest]) => [id, rest]))).toEqual({
    n1: ["192.168.0.1", 0],
    n2: ["192.168.0.2", 0],
    asks: ["fd00::5", 4790],
    nowhere: ["", 0],
    link: ["", 0],
  });
});

it("a task that starts serves only when its service asks for that", async () => {
  const { store, watch, front } = await fixture();
  const container = ContainerSpec.create({ labels: { [publishNotReadyLabel]: "true" } });
  await store.update((tx) => {
    tx.tasks.create(task("t5", "n1", [front], TaskState.STARTING));
    const asks = task("t6", "n1", [front], TaskState.STARTING);
    tx.tasks.create({ ...asks, spec: TaskSpec.create({ container }) });
    tx.tasks.create({ ...task("t7", "n1", [front], TaskState.PREPARING), spec: TaskSpec.create({ container }) });
  });
  const seen = words((await watch("n1").next()).value as NetworkStateMessage);
  expect(seen.filter((word) => /front\/t[567]/.test(word))).toEqual([
    "+endpoint front/t5",
    "+endpoint front/t6 serving",
    "+endpoint front/t7",
  ]);
});

it("gives nodes' public keys, and says which published tasks are on encrypted networks", async () => {
  const { store, watch, front } = await fixture();
  const key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
  await store.update((tx) => {
    const made = tx.nodes.get("n2")!;
    const engine = EngineDescription.create({ labels: { [networkKeysLabel]: `51841/${key} 51840/broken` } });
    tx.nodes.update({ ...made, description: NodeDescription.create({ engine }) });
    const driverConfig = Driver.create({ name: "overlay", options: { encrypted: "" } });
    const network = { ...front, spec: { ...front.spec, driverConfig } };
    const task = tx.tasks.get("t1")!;
    const networks = task.networks.map((each) => (each.network?.id === "front" ? { ...each, network } : each));
    tx.tasks.update({ ...task, networks });
  });
  const { changes } = (await watch("n1").next()).value as NetworkStateMessage;
  const keys = changes.flatMap(({ node }) => (node === undefined ? [] : [[node.id, node.keys]]));
  expect(Object.fromEntries(keys)).toEqual({ n1: [], n2: [{ publicKey: key, port: 51841 }] });
  const encrypted = changes.flatMap(({ endpoint }) => (endpoint ? [[endpoint.networkId, endpoint.encrypted]] : []));
  expect(Object.fromEntries(encrypted)).toEqual({ front: false, ing: true });
});

it("says what part nodes have in relaying, which may, and where none helps", async () => {
  const { store, watch } = await fixture();
  const key = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
  const relay = (wanted: boolean, reached: readonly string[]) => ({
    key: { publicKey: key, port: 51842 },
    wanted,
    reached,
  });
  const { READY, DOWN } = NodeStatus_State;
  await store.update((tx) => {
    const set = (id: string, how: { labels?: Record<string, string>; state: NodeStatus_State; manager: boolean }) => {
      const made = tx.nodes.get(id) ?? node(id, "192.168.0.9");
      const engine = EngineDescription.create({ labels: how.labels ?? {} });
      const changed = {
        ...made,
        description: NodeDescription.create({ engine }),
        status: { ...made.status, state: how.state },
        role: how.manager ? NodeRole.MANAGER : NodeRole.WORKER,
      };
      if (tx.nodes.get(id) === undefined) tx.nodes.create(changed);
      else tx.nodes.update(changed);
    };
    const asking = { [networkRelayLabel]: `51842/${key} wanted m1`, [networkKeysLabel]: `51840/${key}` };
    set("n1", { state: READY, manager: false, labels: asking });
    set("n2", { state: DOWN, manager: false, labels: { [networkKeysLabel]: `51840/${key}` } });
    set("m1", { state: READY, manager: true, labels: { [networkRelayLabel]: `51842/${key}` } });
    set("m2", { state: DOWN, manager: true, labels: { [networkRelayLabel]: "51842/broken" } });
  });
  const { changes } = (await watch("n1").next()).value as NetworkStateMessage;
  const told = changes.flatMap(({ node }) => (node ? [[node.id, [node.relay, node.mayRelay, node.down]]] : []));
  expect(Object.fromEntries(told)).toEqual({
    n1: [relay(true, ["m1"]), false, false],
    n2: [undefined, false, true],
    m1: [relay(false, []), true, false],
    m2: [undefined, false, false],
  });
});

it("gives the addresses of both families", async () => {
  const { store, watch, front } = await fixture();
  await store.update((tx) => {
    const addr = "fd01::2/64";
    const stored = tx.services.get("web")!;
    const virtualIps = [Endpoint_VirtualIP.create({ networkId: "front", addr }), ...stored.endpoint!.virtualIps];
    tx.services.update({ ...stored, endpoint: { ...stored.endpoint!, virtualIps } });
    const networks = [NetworkAttachment.create({ network: front, addresses: ["10.0.1.77/24", "fd01::77/64"] })];
    tx.tasks.update({ ...tx.tasks.get("t1")!, networks });
  });
  const { changes } = (await watch("n1").next()).value as NetworkStateMessage;
  expect(changes.find(({ service }) => service)?.service?.networks[0]).toMatchObject({
    virtualIp: "10.0.1.2",
    virtualIp6: "fd01::2",
  });
  expect(changes.find(({ endpoint }) => endpoint)?.endpoint).toMatchObject({
    address: "10.0.1.77",
    address6: "fd01::77",
  });
});

it("brings a whole network when the node's first task comes to it, and takes it away with the last", async () => {
  const { store, watch, front } = await fixture();
  const stream = watch("n2");
  expect(words((await stream.next()).value as NetworkStateMessage)).toContain("+service web vip= ports=1");
  await store.update((tx) => tx.tasks.create(task("t3", "n2", [front], TaskState.ASSIGNED)));
  const second = (await stream.next()).value as NetworkStateMessage;
  expect(second).toMatchObject({ type: 1, sequence: 2 });
  expect(words(second)).toEqual([
    "+endpoint front/t1 serving",
    "+endpoint front/t3",
    "+network front 4097",
    "+service web vip=10.0.1.2 ports=1",
  ]);
  await store.update((tx) => tx.tasks.delete("t3"));
  expect(words((await stream.next()).value as NetworkStateMessage)).toEqual([
    "+service web vip= ports=1",
    "-endpoint front/t1 serving",
    "-endpoint front/t3",
    "-network front 4097",
  ]);
});

it("takes a task out as soon as it shall stop, before it has", async () => {
  const { store, watch } = await fixture();
  const stream = watch("n1");
  await stream.next();
  await store.update((tx) => {
    tx.tasks.update({ ...tx.tasks.get("t1")!, desiredState: TaskState.SHUTDOWN });
  });
  expect(words((await stream.next()).value as NetworkStateMessage)).toEqual(["+endpoint front/t1", "+endpoint ing/t1"]);
});

describe("a task that shall stop", () => {
  type Watched = AsyncIterator<NetworkStateMessage>;
  const read = async (stream: Watched) => (await stream.next()).value as NetworkStateMessage;

  async function onTwoNodes() {
    const made = await fixture();
    await made.store.update((tx) => tx.tasks.create(task("t3", "n2", [made.front])));
    const [n1, n2] = [made.watch("n1"), made.watch("n2")];
    const [first1, first2] = [await read(n1), await read(n2)];
    const shutDown = (id: string) =>
      made.store.update((tx) => {
        tx.tasks.update({ ...tx.tasks.get(id)!, desiredState: TaskState.SHUTDOWN });
      });
    return { ...made, n1, n2, ids: [first1.streamId, first2.streamId] as const, shutDown };
  }

  it("is drained when every node that sent to it has applied that it doesn't serve", async () => {
    const { n1, n2, ids, report, shutDown } = await onTwoNodes();
    await shutDown("t3");
    const [told1, told2] = [await read(n1), await read(n2)];
    expect([told1.acknowledge, told2.acknowledge]).toEqual([true, true]);
    expect(words(told2)).toEqual(["+endpoint front/t3"]);
    await report("n2", { streamId: ids[1], applied: told2.sequence });
    await report("n1", { streamId: ids[0], applied: told1.sequence - 1 });
    const drained = read(n2);
    await report("n1", { streamId: ids[0], applied: told1.sequence });
    expect(words(await drained)).toEqual(["+endpoint front/t3 drained"]);
  });

  it("does not wait for a node that is gone", async () => {
    const { watch, report, store, front } = await fixture();
    await store.update((tx) => tx.tasks.create(task("t3", "n2", [front])));
    const lost = new AbortController();
    const [n1, n2] = [watch("n1", lost.signal), watch("n2")];
    await read(n1);
    const { streamId } = await read(n2);
    await store.update((tx) => {
      tx.tasks.update({ ...tx.tasks.get("t3")!, desiredState: TaskState.SHUTDOWN });
    });
    await read(n1);
    const told = await read(n2);
    await report("n2", { streamId, applied: told.sequence });
    const drained = read(n2);
    lost.abort();
    await n1.next();
    expect(words(await drained)).toEqual(["+endpoint front/t3 drained"]);
  });

  it("leaves at once when its node says so, whatever its state; other nodes' words don't count", async () => {
    const { n1, n2, ids, report } = await onTwoNodes();
    await report("n1", { streamId: ids[0], leaving: ["t3"] });
    await report("n2", { streamId: ids[1], leaving: ["t3"] });
    expect(words(await read(n1))).toEqual(["+endpoint front/t3"]);
    expect(words(await read(n2))).toEqual(["+endpoint front/t3"]);
  });

  it("waits for nodes that come to a new leader", async () => {
    const { store, watch, front, report } = await fixture();
    const stopping = { ...task("t3", "n2", [front]), desiredState: TaskState.SHUTDOWN };
    await store.update((tx) => tx.tasks.create(stopping));
    const n2 = watch("n2");
    const told2 = await read(n2);
    expect(words(told2)).toContain("+endpoint front/t3");
    const n1 = watch("n1");
    const told1 = await read(n1);
    await report("n2", { streamId: told2.streamId, applied: 1 });
    const drained = read(n2);
    await report("n1", { streamId: told1.streamId, applied: 1 });
    await clock.advance(1_000);
    expect(words(await drained)).toEqual(["+endpoint front/t3 drained"]);
  });

  it("is refused a report on a stream that is not the caller's", async () => {
    const { ids, report } = await onTwoNodes();
    await expect(report("n2", { streamId: ids[0], applied: 1 })).rejects.toThrow(/has ended: watch again/);
  });
});

describe("looking into nodes' networks", () => {
  it("asks who is connected, and lists who doesn't answer", async () => {
    const { watch, report, inspect } = await fixture();
    const n1 = watch("n1");
    const { streamId } = (await n1.next()).value as NetworkStateMessage;
    const asked = inspect({ repair: true, timeoutMs: 5_000 });
    const message = (await n1.next()).value as NetworkStateMessage;
    expect(message.questions).toMatchObject([{ kind: 0, repair: true }]);
    const [question] = message.questions;
    const findings = [{ subject: "route", detail: "10.0.0.1 is missing", repaired: true }];
    await report("n1", { streamId, inspection: NetworkInspection.create({ questionId: question!.id, findings }) });
    expect((await asked).nodes).toMatchObject([
      { nodeId: "n1", findings, error: "" },
      { nodeId: "n2", findings: [], error: "the node is not connected" },
    ]);
  });

  it("names clocks that differ, the time that the answer took aside", async () => {
    const { watch, report, inspect } = await fixture();
    await clock.advance(100_000);
    const streams = [watch("n1"), watch("n2")];
    const ids: string[] = [];
    for (const stream of streams) ids.push(((await stream.next()).value as NetworkStateMessage).streamId);
    const asked = inspect({ kind: NetworkStateQuestion_Kind.CHECK });
    const answer = async (n: number, ahead: number) => {
      const { questions } = (await streams[n - 1]!.next()).value as NetworkStateMessage;
      const clockMs = clock.now() + ahead;
      const inspection = NetworkInspection.create({ questionId: questions[0]!.id, clockMs });
      await report(`n${n}`, { streamId: ids[n - 1]!, inspection });
    };
    await answer(1, -2_500);
    await clock.advance(3_000);
    await answer(2, -3_900);
    expect((await asked).nodes.map(({ findings }) => findings.map(({ subject, detail }) => [subject, detail]))).toEqual(
      [
        [["clock", expect.stringMatching(/^this node's clock is 2\.5 s behind the leader's: have both follow NTP/)]],
        [],
      ],
    );
  });

  it("ends when the time is over", async () => {
    const { watch, inspect } = await fixture();
    const n1 = watch("n1");
    await n1.next();
    const asked = inspect({ nodeIds: ["n1"], timeoutMs: 5_000 });
    await n1.next();
    await clock.advance(5_000);
    expect((await asked).nodes).toMatchObject([{ nodeId: "n1", error: "the node did not answer in time" }]);
  });

  it("refuses a node that isn't there", async () => {
    await expect((await fixture()).inspect({ nodeIds: ["nowhere"] })).rejects.toThrow("node nowhere not found");
  });
});
