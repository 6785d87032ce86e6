import {
  Annotations,
  Driver,
  Endpoint,
  Endpoint_VirtualIP,
  IPAMConfig,
  IPAMOptions,
  Network,
  NetworkAttachment,
  NetworkAttachmentConfig,
  NetworkSpec,
  type NetworkStateMessage,
  Node,
  PortConfig,
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
import { afterEach, beforeEach, expect, it } from "vitest";
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
      return `${sign}endpoint ${endpoint?.networkId}/${endpoint?.taskId}${endpoint?.serving ? " serving" : ""}`;
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
  const watch = (nodeId: string) => {
    const caller = { nodeId, roles: [], organization: "", forwarded: false };
    const context = { caller, signal: stop.signal, remoteAddress: "" } as unknown as CallContext;
    return handlers.watch({}, context)[Symbol.asyncIterator]();
  };
  return { store, watch, front };
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
