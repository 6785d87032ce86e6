import {
  Annotations,
  addressPoolLabels,
  Cluster,
  ClusterSpec,
  Driver,
  Endpoint,
  EndpointSpec,
  EndpointSpec_ResolutionMode,
  IPAMConfig,
  IPAMOptions,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  Node,
  PortConfig,
  predefinedNetwork,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  withAddressPool,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { createAllocator, ingressNetwork, vniOf } from "./index.ts";

const clock = new FakeClock();
let stop = new AbortController();

afterEach(() => stop.abort());

function start(store: MemoryStore): void {
  stop = new AbortController();
  createAllocator({ store, clock, log: nullLogger })
    .run(stop.signal)
    .catch((error) => {
      throw error;
    });
}

/** Lets the allocator do all that it can. */
const settle = () => clock.advance(0);

function network(
  id: string,
  options: { subnet?: string; range?: string; subnet6?: string; ipv6?: boolean } = {},
): Network {
  const configs = options.subnet ? [IPAMConfig.create({ subnet: options.subnet, range: options.range ?? "" })] : [];
  if (options.subnet6 !== undefined) configs.push(IPAMConfig.create({ subnet: options.subnet6 }));
  return Network.create({
    id,
    spec: NetworkSpec.create({
      annotations: Annotations.create({ name: id }),
      driverConfig: Driver.create({ name: "overlay" }),
      ipam: IPAMOptions.create({ configs }),
      ipv6Enabled: options.ipv6 ?? false,
    }),
  });
}

function service(id: string, options: { networks?: string[]; ports?: PortConfig[]; dnsrr?: boolean } = {}): Service {
  const networks = (options.networks ?? []).map((target) =>
    NetworkAttachmentConfig.create({ target, aliases: ["alias"] }),
  );
  return Service.create({
    id,
    spec: ServiceSpec.create({
      annotations: Annotations.create({ name: id }),
      task: TaskSpec.create({ networks }),
      endpoint: EndpointSpec.create({
        mode: options.dnsrr ? EndpointSpec_ResolutionMode.DNSRR : EndpointSpec_ResolutionMode.VIP,
        ports: options.ports ?? [],
      }),
    }),
  });
}

function task(id: string, of: Service): Task {
  return Task.create({
    id,
    serviceId: of.id,
    spec: of.spec.task,
    desiredState: TaskState.RUNNING,
    endpoint: Endpoint.create({ spec: of.spec.endpoint }),
  });
}

async function storeWith(objects: { networks?: Network[]; services?: Service[]; tasks?: Task[]; nodes?: Node[] }) {
  const store = new MemoryStore({ clock });
  await put(store, objects);
  return store;
}

function put(store: MemoryStore, objects: Parameters<typeof storeWith>[0]): Promise<void> {
  return store.update((tx) => {
    for (const object of objects.networks ?? []) tx.networks.create(object);
    for (const object of objects.services ?? []) tx.services.create(object);
    for (const object of objects.nodes ?? []) tx.nodes.create(object);
    for (const object of objects.tasks ?? []) tx.tasks.create(object);
  });
}

const taskOf = (store: MemoryStore, id: string) => store.view((tx) => tx.tasks.get(id))!;
const serviceOf = (store: MemoryStore, id: string) => store.view((tx) => tx.services.get(id))!;
const networkOf = (store: MemoryStore, id: string) => store.view((tx) => tx.networks.get(id))!;
const addressesOf = (store: MemoryStore, id: string) => taskOf(store, id).networks.flatMap((n) => n.addresses);

describe("networks", () => {
  it("get a VXLAN id from 4096 on, a /24 of the pool each, and its first address as gateway", async () => {
    const store = await storeWith({ networks: [network("a"), network("b")] });
    start(store);
    await settle();
    const [a, b] = [networkOf(store, "a"), networkOf(store, "b")];
    expect([vniOf(a), vniOf(b)]).toEqual([4096, 4097]);
    expect([a, b].map((n) => n.ipam?.configs.map(({ subnet, gateway }) => [subnet, gateway]))).toEqual([
      [["10.0.0.0/24", "10.0.0.1"]],
      [["10.0.1.0/24", "10.0.1.1"]],
    ]);
  });

  it("that nodes have by themselves need nothing: no address for a task, no virtual IP for its service", async () => {
    const host = predefinedNetwork("host-id", "host");
    const web = service("web", { networks: ["host-id"] });
    const store = await storeWith({ networks: [host], services: [web], tasks: [task("t1", web)] });
    start(store);
    await settle();
    expect(serviceOf(store, "web").endpoint?.virtualIps ?? []).toEqual([]);
    expect(taskOf(store, "t1")).toMatchObject({
      status: { state: TaskState.PENDING },
      networks: [{ network: { id: "host-id", driverState: { name: "host" } }, addresses: [], aliases: ["alias"] }],
    });
    await store.update((tx) => {
      const ended = tx.tasks.get("t1")!;
      tx.tasks.update({ ...ended, status: { ...ended.status, state: TaskState.COMPLETE } });
    });
    await settle();
    expect(networkOf(store, "host-id").ipam?.configs).toEqual([]);
  });

  it("keep clear of subnets that users gave and of the nodes' own addresses", async () => {
    const node = Node.create({ id: "n" });
    const store = await storeWith({
      networks: [network("given", { subnet: "10.0.0.0/23" }), network("pool")],
      nodes: [{ ...node, status: { ...node.status, addr: "10.0.2.7" } }],
    });
    start(store);
    await settle();
    expect(networkOf(store, "pool").ipam?.configs[0]?.subnet).toBe("10.0.3.0/24");
  });

  it("on the hosts' own one have no VXLAN id, and give the nodes' own addresses to nobody", async () => {
    const node = (id: string, addr: string) => {
      const made = Node.create({ id });
      return { ...made, status: { ...made.status, addr } };
    };
    const lan = network("lan", { subnet: "192.168.7.0/29" });
    const driverConfig = Driver.create({ name: "macvlan", options: { parent: "eth0" } });
    const wide = service("wide", { networks: ["lan"], dnsrr: true });
    const store = await storeWith({
      networks: [{ ...lan, spec: { ...lan.spec, driverConfig } }, network("after")],
      nodes: [node("n1", "192.168.7.2")],
      services: [wide],
      tasks: [task("t1", wide)],
    });
    start(store);
    await settle();
    expect(networkOf(store, "lan")).toMatchObject({
      driverState: { name: "macvlan", options: { parent: "eth0" } },
      ipam: { configs: [{ subnet: "192.168.7.0/29", gateway: "192.168.7.1" }] },
    });
    expect(vniOf(networkOf(store, "after"))).toBe(4096);
    await store.update((tx) => tx.nodes.create(node("n2", "192.168.7.4")));
    await store.update((tx) => tx.tasks.create(task("t2", wide)));
    await settle();
    expect(["t1", "t2"].flatMap((id) => addressesOf(store, id))).toEqual(["192.168.7.3/29", "192.168.7.5/29"]);
    // An address is a node's until no node has it.
    await store.update((tx) => tx.nodes.create(node("n3", "192.168.7.6")));
    await store.update((tx) => tx.nodes.create(node("n4", "192.168.7.6")));
    await store.update((tx) => tx.nodes.delete("n3"));
    await store.update((tx) => tx.tasks.create(task("t3", wide)));
    await settle();
    expect(taskOf(store, "t3").status.err).toMatch(/no free address/);
    await store.update((tx) => tx.nodes.delete("n4"));
    await settle();
    expect(addressesOf(store, "t3")).toEqual(["192.168.7.6/29"]);
  });

  it("that overlap another are refused, which their tasks say, until the other goes", async () => {
    const store = await storeWith({ networks: [network("first", { subnet: "10.9.0.0/16" })] });
    start(store);
    await settle();
    const web = service("web", { networks: ["second"] });
    await put(store, {
      networks: [network("second", { subnet: "10.9.1.0/24" })],
      services: [web],
      tasks: [task("t", web)],
    });
    await settle();
    expect(taskOf(store, "t").status).toMatchObject({
      state: TaskState.NEW,
      err: expect.stringMatching(/10\.9\.1\.0\/24 overlaps 10\.9\.0\.0\/16/),
    });
    await store.update((tx) => tx.networks.delete("first"));
    await settle();
    expect(taskOf(store, "t").status).toMatchObject({ state: TaskState.PENDING, err: "" });
    expect(addressesOf(store, "t")).toEqual(["10.9.1.3/24"]);
  });
});

describe("pools", () => {
  it("that are full are said on the task, with the remedy; one added later serves who waited", async () => {
    const web = service("web", { networks: ["b"], dnsrr: true });
    const spec = (labels: Record<string, string>) =>
      ClusterSpec.create({ annotations: Annotations.create({ name: "default", labels }) });
    const cluster = Cluster.create({ id: "c", spec: spec({}), defaultAddressPool: ["10.1.0.0/24"], subnetSize: 24 });
    const store = await storeWith({ networks: [network("a")] });
    await store.update((tx) => tx.clusters.create(cluster));
    start(store);
    await settle();
    await put(store, { networks: [network("b")], services: [web], tasks: [task("t", web)] });
    await settle();
    expect(taskOf(store, "t").status.err).toBe(
      "network b: no free /24 is left in the address pools: remove a network, give --subnet, or add a pool with swarmctl cluster update --default-addr-pool-add",
    );
    await store.update((tx) => {
      const labels = withAddressPool({ [addressPoolLabels.maskLength]: "20" }, "172.20.0.0/16");
      tx.clusters.update({ ...tx.clusters.get("c")!, spec: spec({ ...labels }) });
    });
    await settle();
    expect(networkOf(store, "b").ipam?.configs[0]?.subnet).toBe("172.20.0.0/20");
    expect(addressesOf(store, "t")).toEqual(["172.20.0.2/20"]);
  });
});

describe("IPv6", () => {
  it("comes out of the cluster's own prefix where the network asks for it, or from the subnet given; IPv4 always, too", async () => {
    const web = service("web", { networks: ["asks", "gives", "plain"] });
    const store = await storeWith({
      networks: [network("asks", { ipv6: true }), network("gives", { subnet6: "fd01:2::/64" }), network("plain")],
    });
    await store.update((tx) => tx.clusters.create(Cluster.create({ id: "c", subnetSize: 24 })));
    await put(store, { services: [web], tasks: [task("t", web)] });
    start(store);
    await settle();
    const configs = (id: string) =>
      networkOf(store, id).ipam?.configs.map(({ family, subnet, gateway }) => [family, subnet, gateway]);
    const own = configs("asks")?.[1]?.[1] as string;
    expect(own).toMatch(/^fd[0-9a-f]{2}:[0-9a-f:]+::\/64$/);
    expect(configs("gives")).toEqual([
      [4, "10.0.1.0/24", "10.0.1.1"],
      [6, "fd01:2::/64", "fd01:2::1"],
    ]);
    expect(configs("plain")).toHaveLength(1);
    const prefix = own.replace("/64", "");
    expect(serviceOf(store, "web").endpoint?.virtualIps.map(({ addr }) => addr)).toEqual([
      "10.0.0.2/24",
      `${prefix}2/64`,
      "10.0.1.2/24",
      "fd01:2::2/64",
      "10.0.2.2/24",
    ]);
    expect(addressesOf(store, "t")).toEqual([
      "10.0.0.3/24",
      `${prefix}3/64`,
      "10.0.1.3/24",
      "fd01:2::3/64",
      "10.0.2.3/24",
    ]);
    const version = serviceOf(store, "web").meta.version;
    stop.abort();
    start(store);
    await settle();
    expect(serviceOf(store, "web").meta.version).toEqual(version);
  });

  it("comes from a pool of the cluster's where there is one, and its lack is said with the remedy", async () => {
    const web = service("web", { networks: ["b"], dnsrr: true });
    const store = await storeWith({ networks: [network("a", { ipv6: true })] });
    const pools = ["10.1.0.0/16", "fd05::/64"];
    await store.update((tx) =>
      tx.clusters.create(Cluster.create({ id: "c", defaultAddressPool: pools, subnetSize: 24 })),
    );
    start(store);
    await settle();
    expect(networkOf(store, "a").ipam?.configs[1]?.subnet).toBe("fd05::/64");
    await put(store, { networks: [network("b", { ipv6: true })], services: [web], tasks: [task("t", web)] });
    await settle();
    expect(taskOf(store, "t").status.err).toMatch(
      /no free \/64 is left in the IPv6 address pools: .*--default-addr-pool-add/,
    );
  });

  it("addresses that a task asks for are given with one of the other family", async () => {
    const asking = service("web", { networks: ["front"], dnsrr: true });
    const networks = asking.spec.task.networks.map((config) => ({ ...config, addresses: ["fd01:2:0:0:0:0:0:50"] }));
    const web = { ...asking, spec: { ...asking.spec, task: { ...asking.spec.task, networks } } };
    const store = await storeWith({
      networks: [network("front", { subnet: "10.7.0.0/24", subnet6: "fd01:2::/64" })],
      services: [web],
      tasks: [task("t1", web), task("t2", web)],
    });
    start(store);
    await settle();
    expect(addressesOf(store, "t1")).toEqual(["10.7.0.2/24", "fd01:2::50/64"]);
    expect(taskOf(store, "t2").status.err).toBe("network front: address fd01:2::50 is in use");
    // What the refusal gave back is the next one's.
    await put(store, { services: [service("other", { networks: ["front"] })] });
    await settle();
    expect(serviceOf(store, "other").endpoint?.virtualIps).toHaveLength(2);
  });
});

describe("services and tasks", () => {
  it("get the very address that they ask for, or hear why not, and get it when it is free", async () => {
    const asking = service("web", { networks: ["front"], dnsrr: true });
    const networks = asking.spec.task.networks.map((config) => ({ ...config, addresses: ["10.7.0.50"] }));
    const web = { ...asking, spec: { ...asking.spec, task: { ...asking.spec.task, networks } } };
    const store = await storeWith({
      networks: [network("front", { subnet: "10.7.0.0/24" })],
      services: [web],
      tasks: [task("t1", web), task("t2", web)],
    });
    start(store);
    await settle();
    expect(addressesOf(store, "t1")).toEqual(["10.7.0.50/24"]);
    expect(taskOf(store, "t2").status.err).toMatch(/address 10\.7\.0\.50 is in use/);
    await store.update((tx) => {
      tx.tasks.update({ ...tx.tasks.get("t1")!, status: TaskStatus.create({ state: TaskState.SHUTDOWN }) });
    });
    await settle();
    expect(addressesOf(store, "t2")).toEqual(["10.7.0.50/24"]);
  });

  it("get addresses of the network's range, and those outside of it only when they ask", async () => {
    const web = service("web", { networks: ["front"], dnsrr: true });
    const asking = service("db", { networks: ["front"], dnsrr: true });
    const networks = asking.spec.task.networks.map((config) => ({ ...config, addresses: ["10.7.0.9"] }));
    const db = { ...asking, spec: { ...asking.spec, task: { ...asking.spec.task, networks } } };
    const store = await storeWith({
      networks: [network("front", { subnet: "10.7.0.0/24", range: "10.7.0.192/31" })],
      services: [web, db],
      tasks: [task("t1", web), task("t2", web), task("t3", web), task("t4", db)],
    });
    start(store);
    await settle();
    expect([...addressesOf(store, "t1"), ...addressesOf(store, "t2")]).toEqual(["10.7.0.192/24", "10.7.0.193/24"]);
    expect(taskOf(store, "t3").status.err).toMatch(/^network front has no free address: remove tasks/);
    expect(addressesOf(store, "t4")).toEqual(["10.7.0.9/24"]);
  });

  it("without networks go on at once", async () => {
    const web = service("web");
    const store = await storeWith({ services: [web], tasks: [task("t", web)] });
    start(store);
    await settle();
    expect(taskOf(store, "t")).toMatchObject({
      status: { state: TaskState.PENDING, message: "pending task scheduling" },
      networks: [],
    });
  });

  it("get a virtual IP per network and addresses, ingress first when they publish", async () => {
    const web = service("web", {
      networks: ["front"],
      ports: [PortConfig.create({ targetPort: 80, publishedPort: 8080 })],
    });
    const store = await storeWith({
      networks: [ingressNetwork("ing"), network("front")],
      services: [web],
      tasks: [task("t1", web), task("t2", web)],
    });
    start(store);
    await settle();
    expect(serviceOf(store, "web").endpoint?.virtualIps.map((ip) => [ip.networkId, ip.addr])).toEqual([
      ["front", "10.0.0.2/24"],
      ["ing", "10.255.0.2/16"],
    ]);
    expect(addressesOf(store, "t1")).toEqual(["10.255.0.3/16", "10.0.0.3/24"]);
    expect(addressesOf(store, "t2")).toEqual(["10.255.0.4/16", "10.0.0.4/24"]);
    expect(taskOf(store, "t1").networks[1]?.aliases).toEqual(["alias"]);
    expect(taskOf(store, "t1").endpoint?.ports[0]?.publishedPort).toBe(8080);
  });

  it("of DNS round robin have no virtual IP", async () => {
    const store = await storeWith({
      networks: [network("front")],
      services: [service("web", { networks: ["front"], dnsrr: true })],
    });
    start(store);
    await settle();
    expect(serviceOf(store, "web").endpoint?.virtualIps ?? []).toEqual([]);
  });

  it("get ports from 30000 on where they name none, keep them, and free them at the end", async () => {
    const open = [PortConfig.create({ targetPort: 80 })];
    const store = await storeWith({ networks: [ingressNetwork("ing")], services: [service("a", { ports: open })] });
    start(store);
    await settle();
    expect(serviceOf(store, "a").endpoint?.ports[0]?.publishedPort).toBe(30_000);
    await store.update((tx) => {
      const a = tx.services.get("a")!;
      const ports = [...open, PortConfig.create({ targetPort: 81, publishedPort: 9000 })];
      tx.services.update({ ...a, spec: { ...a.spec, endpoint: EndpointSpec.create({ ports }) } });
    });
    await settle();
    expect(serviceOf(store, "a").endpoint?.ports.map((p) => p.publishedPort)).toEqual([30_000, 9_000]);
    const rival = service("b", { ports: [PortConfig.create({ targetPort: 1, publishedPort: 9000 })] });
    await put(store, { services: [rival], tasks: [task("t", rival)] });
    await settle();
    expect(taskOf(store, "t").status.err).toMatch(/port 9000\/tcp is in use by service a/);
    await store.update((tx) => tx.services.delete("a"));
    await settle();
    expect(taskOf(store, "t").status).toMatchObject({ state: TaskState.PENDING, err: "" });
  });

  it("wait for a free address, and get it when a task ends", async () => {
    const web = service("web", { networks: ["tiny"], dnsrr: true });
    const ids = ["t1", "t2", "t3", "t4", "t5", "t6"];
    const store = await storeWith({
      networks: [network("tiny", { subnet: "10.7.0.0/29" })],
      services: [web],
      tasks: ids.map((id) => task(id, web)),
    });
    start(store);
    await settle();
    expect(taskOf(store, "t6").status).toMatchObject({
      state: TaskState.NEW,
      err: expect.stringMatching(/tiny has no free address/),
    });
    await store.update((tx) => {
      const ended = tx.tasks.get("t2")!;
      tx.tasks.update({ ...ended, status: TaskStatus.create({ state: TaskState.FAILED }) });
    });
    await settle();
    expect(addressesOf(store, "t6")).toEqual(addressesOf(store, "t2"));
    expect(taskOf(store, "t6").status.state).toBe(TaskState.PENDING);
  });
});

it("gives each node an address on the ingress network, and takes none twice after a change of leader", async () => {
  const web = service("web", { networks: ["front"], ports: [PortConfig.create({ targetPort: 80 })] });
  const store = await storeWith({
    networks: [ingressNetwork("ing"), network("front")],
    services: [web],
    nodes: [Node.create({ id: "n1" }), Node.create({ id: "n2" })],
    tasks: Array.from({ length: 50 }, (_, i) => task(`t${i}`, web)),
  });
  start(store);
  await settle();
  stop.abort();
  await put(store, {
    tasks: Array.from({ length: 50 }, (_, i) => task(`u${i}`, web)),
    nodes: [Node.create({ id: "n3" })],
  });
  start(store);
  await settle();
  const given = store.view((tx) => [
    ...tx.tasks.find().flatMap((t) => t.networks.flatMap((n) => n.addresses)),
    ...tx.nodes.find().flatMap((n) => n.attachments.flatMap((a) => a.addresses)),
    ...tx.services.find().flatMap((s) => s.endpoint?.virtualIps.map((ip) => ip.addr) ?? []),
  ]);
  expect(given.length).toBe(205);
  expect(new Set(given).size).toBe(given.length);
});

it("no address has two owners at any time, whatever comes and goes and whoever leads", async () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ t: fc.constant("create" as const), count: fc.integer({ min: 1, max: 6 }) }),
      fc.record({ t: fc.constant("end" as const), at: fc.nat() }),
      fc.record({ t: fc.constant("remove" as const), at: fc.nat() }),
      fc.record({ t: fc.constant("leader" as const) }),
      fc.record({ t: fc.constant("service" as const) }),
    ),
    { minLength: 5, maxLength: 25 },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      const web = service("web", { networks: ["tiny"], ports: [PortConfig.create({ targetPort: 80 })] });
      const networks = [ingressNetwork("ing"), network("tiny", { subnet: "10.7.0.0/28", subnet6: "fd01::/124" })];
      const store = await storeWith({ networks, services: [web] });
      start(store);
      let next = 0;
      const pick = (at: number) => store.view((tx) => tx.tasks.find())[at % Math.max(1, next)];
      for (const step of list) {
        if (step.t === "create") {
          await put(store, { tasks: Array.from({ length: step.count }, () => task(`t${next++}`, web)) });
        } else if (step.t === "service") {
          await put(store, { services: [service(`s${next++}`, { networks: ["tiny"] })] });
        } else if (step.t === "leader") {
          stop.abort();
          start(store);
        } else {
          const chosen = pick(step.at);
          if (chosen === undefined) continue;
          await store.update((tx) => {
            if (step.t === "remove") tx.tasks.delete(chosen.id);
            else tx.tasks.update({ ...chosen, status: TaskStatus.create({ state: TaskState.FAILED }) });
          });
        }
        await settle();
        const held = store.view((tx) => [
          ...tx.tasks
            .find()
            .filter(({ status }) => status.state <= TaskState.RUNNING)
            .flatMap((t) => t.networks.flatMap((n) => n.addresses)),
          ...tx.services.find().flatMap((s) => s.endpoint?.virtualIps.map((ip) => ip.addr) ?? []),
        ]);
        expect(held.filter((address, i) => held.indexOf(address) !== i)).toEqual([]);
      }
      stop.abort();
    }),
    { numRuns: 40 },
  );
});
