import {
  Annotations,
  Certificate,
  Cluster,
  ClusterSpec,
  ContainerSpec,
  CreateNetworkRequest,
  CreateSecretRequest,
  CreateServiceRequest,
  defaultClusterName,
  EndpointSpec,
  FileTarget,
  GetServiceRequest,
  GlobalService,
  IPAMConfig,
  IPAMOptions,
  KeyRotation,
  ListClustersRequest,
  ListNodesRequest,
  ListNodesRequest_Filters,
  ListServiceStatusesRequest,
  ListServicesRequest,
  ListServicesRequest_Filters,
  ListTasksRequest,
  ListTasksRequest_Filters,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  Node,
  NodeDescription,
  NodeRole,
  NodeSpec,
  NodeStatus,
  NodeStatus_State,
  PortConfig,
  PortConfig_Protocol,
  PortConfig_PublishMode,
  predefinedNetwork,
  RaftMember,
  RaftMemberStatus,
  RemoveNetworkRequest,
  RemoveNodeRequest,
  RemoveSecretRequest,
  RemoveServiceRequest,
  ReplicatedService,
  RootCA,
  SecretReference,
  SecretSpec,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  UpdateClusterRequest,
  UpdateNodeRequest,
  UpdateServiceRequest,
  UpdateServiceRequest_Rollback,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { anonymous, type CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger, SwarmError } from "@starling/base";
import { all, byNode, MemoryStore } from "@starling/store";
import { describe, expect, it } from "vitest";
import { createControlHandlers, createHealthHandlers, type RaftView } from "./index.ts";

const context = {
  caller: anonymous,
  signal: new AbortController().signal,
  remoteAddress: "",
  metadata: {},
} as unknown as CallContext;

/** The API on a real store without a log: updates commit at once. */
function setUp(raft?: RaftView) {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  return { store, clock, api: createControlHandlers({ store, clock, log: nullLogger, raft }) };
}

const annotations = (name: string, labels = {}) => Annotations.create({ name, labels });

function webSpec(init: Partial<ServiceSpec> = {}, container: Partial<ContainerSpec> = {}): ServiceSpec {
  return ServiceSpec.create({
    annotations: annotations("web"),
    task: TaskSpec.create({ container: ContainerSpec.create({ image: "web:1", ...container }) }),
    replicated: ReplicatedService.create({ replicas: 3 }),
    ...init,
  });
}

const publishing = (name: string, publishMode: PortConfig_PublishMode): ServiceSpec =>
  webSpec({
    annotations: annotations(name),
    endpoint: EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 80, publishedPort: 8080, publishMode })] }),
  });

const named = (name: string) => webSpec({ annotations: annotations(name) });

async function refusal(promise: Promise<unknown>): Promise<string> {
  const thrown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return thrown instanceof SwarmError ? `${thrown.code}: ${thrown.message}` : `no refusal but ${String(thrown)}`;
}

describe("services", () => {
  const { INGRESS, HOST } = PortConfig_PublishMode;
  const create = async (api: ReturnType<typeof setUp>["api"], spec: ServiceSpec) =>
    (await api.createService(CreateServiceRequest.create({ spec }), context)).service!;
  const ingress = Network.create({
    id: "ingress-id",
    spec: NetworkSpec.create({ annotations: annotations("ingress"), ingress: true }),
  });

  it("are created with a version, stored whole, and found by name, label and id prefix", async () => {
    const { api, store } = setUp();
    const service = await create(api, webSpec({ annotations: annotations("web", { tier: "front" }) }));
    expect(service.id).toMatch(/^[0-9a-z]{25}$/);
    expect(service.meta.version.index).toBeGreaterThan(0);
    expect(service.specVersion).toEqual({ index: 0 });
    expect(store.view((tx) => tx.services.get(service.id))).toEqual(service);
    await create(api, named("db"));
    const listed = async (filters: Partial<ListServicesRequest_Filters>) =>
      (
        await api.listServices(
          ListServicesRequest.create({ filters: ListServicesRequest_Filters.create(filters) }),
          context,
        )
      ).services.map(({ spec }) => spec.annotations.name);
    expect(await listed({ names: ["web"] })).toEqual(["web"]);
    expect(await listed({ namePrefixes: ["d", "w"], labels: { tier: "" } })).toEqual(["web"]);
    expect(await listed({ labels: { tier: "back" } })).toEqual([]);
    expect(await listed({ idPrefixes: [service.id.slice(0, 20)] })).toEqual(["web"]);
    expect(await listed({ runtimes: ["attachment"] })).toEqual([]);
  });

  it("refuse a second one of the same name, whatever its case, and name the first", async () => {
    const { api } = setUp();
    const { id } = await create(api, webSpec());
    expect(await refusal(create(api, named("WEB")))).toBe(
      `AlreadyExists: name conflicts with an existing object: service WEB already exists (${id}): choose another name`,
    );
  });

  it.each([
    ["ingress and ingress clash", INGRESS, INGRESS, "as an ingress port"],
    ["host over ingress clashes", INGRESS, HOST, "as an ingress port"],
    ["ingress over host clashes", HOST, INGRESS, "as a host-published port"],
  ])("ports: %s", async (_what, first, second, how) => {
    const { api, store } = setUp();
    await store.update((tx) => tx.networks.create(ingress));
    const { id } = await create(api, publishing("a", first));
    expect(await refusal(create(api, publishing("b", second)))).toBe(
      `InvalidArgument: port '8080' is already in use by service 'a' (${id}) ${how}`,
    );
  });

  it.each([
    [PortConfig_Protocol.TCP, 4242, "the managers' own API"],
    [PortConfig_Protocol.UDP, 4789, "the overlay networks (VXLAN)"],
  ])("ports: protocol %i port %i is the swarm's own", async (protocol, publishedPort, whose) => {
    const members = () => [RaftMember.create({ nodeId: "n", addr: "[fd00::1]:4242" })];
    const { api } = setUp({ members, canRemoveMember: () => false });
    const ports = [PortConfig.create({ protocol, targetPort: 80, publishedPort, publishMode: HOST })];
    expect(await refusal(create(api, webSpec({ endpoint: EndpointSpec.create({ ports }) })))).toBe(
      `InvalidArgument: port '${publishedPort}' is already in use by ${whose}: publish another`,
    );
  });

  it("ports: two services may publish the same one on hosts, one service keeps its own", async () => {
    const { api } = setUp();
    const first = await create(api, publishing("a", HOST));
    await create(api, publishing("b", HOST));
    const request = { serviceId: first.id, serviceVersion: first.meta.version, spec: publishing("a", HOST) };
    await api.updateService(UpdateServiceRequest.create(request), context);
  });

  it("refuse the routing mesh without an ingress network", async () => {
    const { api } = setUp();
    expect(await refusal(create(api, publishing("a", INGRESS)))).toContain("FailedPrecondition: service needs ingress");
  });

  it.each<[string, Partial<ContainerSpec>, Partial<TaskSpec>, string]>([
    [
      "secret",
      {
        secrets: [
          SecretReference.create({ secretId: "x", secretName: "key", file: FileTarget.create({ name: "key" }) }),
        ],
      },
      {},
      "InvalidArgument: secret not found: key",
    ],
    ["network", {}, { networks: [NetworkAttachmentConfig.create({ target: "nope" })] }, "network not found: nope"],
    [
      "ingress network as its own",
      {},
      { networks: [NetworkAttachmentConfig.create({ target: "ingress-id" })] },
      'Service cannot be explicitly attached to the ingress network "ingress"',
    ],
    [
      "host network beside another",
      {},
      { networks: ["host-id", "front-id"].map((target) => NetworkAttachmentConfig.create({ target })) },
      "network host excludes other networks and the routing mesh",
    ],
  ])("refuse an unknown %s", async (_what, container, task, message) => {
    const { api, store } = setUp();
    await store.update((tx) => {
      tx.networks.create(ingress);
      tx.networks.create(predefinedNetwork("host-id", "host"));
      tx.networks.create(Network.create({ id: "front-id", spec: NetworkSpec.create() }));
    });
    const spec = webSpec({}, container);
    expect(await refusal(create(api, { ...spec, task: { ...spec.task, ...task } }))).toContain(message);
  });

  it("update: keeps the previous spec and its version; rollback swaps them", async () => {
    const { api } = setUp();
    const first = await create(api, webSpec());
    const update = async (serviceVersion: { index: number }, spec: ServiceSpec, rollback = 0 as 0 | 1) =>
      (
        await api.updateService(
          UpdateServiceRequest.create({ serviceId: first.id, serviceVersion, spec, rollback }),
          context,
        )
      ).service!;
    const second = await update(first.meta.version, webSpec({}, { image: "web:2" }));
    expect(second).toMatchObject({
      specVersion: first.meta.version,
      previousSpec: first.spec,
      previousSpecVersion: { index: 0 },
      updateStatus: undefined,
    });
    const third = await update(second.meta.version, second.spec, UpdateServiceRequest_Rollback.PREVIOUS);
    expect(third).toMatchObject({
      spec: first.spec,
      specVersion: { index: 0 },
      previousSpec: second.spec,
      previousSpecVersion: second.specVersion,
      updateStatus: { state: UpdateStatus_UpdateState.ROLLBACK_STARTED, message: "manually requested rollback" },
    });
  });

  it.each<[string, (spec: ServiceSpec) => ServiceSpec, 0 | 1, string]>([
    ["rename", (spec) => ({ ...spec, annotations: annotations("other") }), 0, "Unimplemented: renaming services"],
    [
      "change of mode",
      (spec) => ({ ...spec, replicated: undefined, global: GlobalService.create() }),
      0,
      "Unimplemented: service mode change is not allowed",
    ],
    ["rollback of nothing", (spec) => spec, 1, "FailedPrecondition: service"],
  ])("update: refuses a %s", async (_what, change, rollback, message) => {
    const { api } = setUp();
    const service = await create(api, webSpec());
    const request = UpdateServiceRequest.create({
      serviceId: service.id,
      serviceVersion: service.meta.version,
      spec: change(service.spec),
      rollback,
    });
    expect(await refusal(api.updateService(request, context))).toContain(message);
  });

  it("update: refuses a stale version and an unknown service", async () => {
    const { api } = setUp();
    const service = await create(api, webSpec());
    const request = {
      serviceId: service.id,
      serviceVersion: { index: service.meta.version.index - 1 },
      spec: webSpec(),
    };
    expect(await refusal(api.updateService(UpdateServiceRequest.create(request), context))).toContain(
      "FailedPrecondition: update out of sequence",
    );
    expect(
      await refusal(api.updateService(UpdateServiceRequest.create({ ...request, serviceId: "nope" }), context)),
    ).toBe("NotFound: service nope not found");
  });

  it("remove: deletes the object and leaves the tasks to the orchestrator", async () => {
    const { api, store } = setUp();
    const { id } = await create(api, webSpec());
    await store.update((tx) => tx.tasks.create(Task.create({ id: "t1", serviceId: id })));
    await api.removeService(RemoveServiceRequest.create({ serviceId: id }), context);
    expect(store.view((tx) => [tx.services.find(all).length, tx.tasks.find(all).length])).toEqual([0, 1]);
    expect(await refusal(api.getService(GetServiceRequest.create({ serviceId: id }), context))).toBe(
      `NotFound: service ${id} not found`,
    );
  });

  it("statuses: wanted and running tasks; unknown services have none", async () => {
    const { api, store } = setUp();
    const { id } = await create(api, webSpec());
    const everywhere = await create(
      api,
      webSpec({ annotations: annotations("agent"), replicated: undefined, global: GlobalService.create() }),
    );
    await store.update((tx) => {
      const add = (taskId: string, serviceId: string, state: TaskState, desiredState: TaskState) =>
        tx.tasks.create(Task.create({ id: taskId, serviceId, desiredState, status: TaskStatus.create({ state }) }));
      add("a", id, TaskState.RUNNING, TaskState.RUNNING);
      add("b", id, TaskState.PENDING, TaskState.RUNNING);
      add("c", everywhere.id, TaskState.RUNNING, TaskState.RUNNING);
      add("d", everywhere.id, TaskState.FAILED, TaskState.SHUTDOWN);
    });
    const { statuses } = await api.listServiceStatuses(
      ListServiceStatusesRequest.create({ services: [id, everywhere.id, "gone"] }),
      context,
    );
    expect(statuses.map(({ desiredTasks, runningTasks }) => [desiredTasks, runningTasks])).toEqual([
      [3, 1],
      [1, 1],
      [0, 0],
    ]);
  });

  it("tasks: filtered by service, node, state, and by whether they carry the present spec", async () => {
    const { api, store } = setUp();
    const service = await create(api, webSpec());
    await store.update((tx) => {
      const base = { serviceId: service.id, serviceAnnotations: service.spec.annotations };
      const fresh = { spec: service.spec.task, specVersion: service.specVersion };
      const stale = { spec: TaskSpec.create({ container: ContainerSpec.create({ image: "old" }) }) };
      tx.tasks.create(
        Task.create({ ...base, ...fresh, id: "t1", slot: 1, nodeId: "n1", desiredState: TaskState.RUNNING }),
      );
      tx.tasks.create(
        Task.create({ ...base, ...stale, id: "t2", slot: 2, nodeId: "n2", desiredState: TaskState.SHUTDOWN }),
      );
    });
    const ids = async (filters: Partial<ListTasksRequest_Filters>) =>
      (
        await api.listTasks(ListTasksRequest.create({ filters: ListTasksRequest_Filters.create(filters) }), context)
      ).tasks.map(({ id }) => id);
    expect(await ids({ serviceIds: [service.id] })).toEqual(["t1", "t2"]);
    expect(await ids({ serviceIds: [service.id], upToDate: true })).toEqual(["t1"]);
    expect(await ids({ nodeIds: ["n2"], serviceIds: [service.id] })).toEqual(["t2"]);
    expect(await ids({ desiredStates: [TaskState.SHUTDOWN] })).toEqual(["t2"]);
    expect(await ids({ names: ["web.1.t1"] })).toEqual(["t1"]);
  });
});

describe("nodes", () => {
  const manager = (id: string, init: Partial<Node> = {}) =>
    Node.create({
      id,
      role: NodeRole.MANAGER,
      spec: NodeSpec.create({ desiredRole: NodeRole.MANAGER }),
      description: NodeDescription.create({ hostname: `host-${id}` }),
      ...init,
    });
  const raft = (nodeIds: readonly string[], quorum = true): RaftView => ({
    members: () =>
      nodeIds.map((nodeId, i) =>
        RaftMember.create({
          raftId: BigInt(i + 1),
          nodeId,
          addr: `${nodeId}:4242`,
          status: RaftMemberStatus.create({ leader: i === 0 }),
        }),
      ),
    canRemoveMember: () => quorum,
  });
  const demote = (node: Node) =>
    UpdateNodeRequest.create({
      nodeId: node.id,
      nodeVersion: node.meta.version,
      spec: NodeSpec.create({ desiredRole: NodeRole.WORKER }),
    });
  const cluster = Cluster.create({
    id: "c",
    spec: ClusterSpec.create({ annotations: annotations(defaultClusterName) }),
  });

  it("show their manager status from raft, and none when they are workers", async () => {
    const { api, store } = setUp(raft(["a"]));
    await store.update((tx) => {
      tx.nodes.create(manager("a"));
      tx.nodes.create(Node.create({ id: "b", role: NodeRole.WORKER }));
    });
    const { nodes } = await api.listNodes(ListNodesRequest.create(), context);
    expect(nodes.map(({ managerStatus }) => managerStatus?.addr)).toEqual(["a:4242", undefined]);
    const filters = ListNodesRequest_Filters.create({ names: ["host-a"], roles: [NodeRole.MANAGER] });
    const found = await api.listNodes(ListNodesRequest.create({ filters }), context);
    expect(found.nodes.map(({ id }) => id)).toEqual(["a"]);
  });

  it.each<[string, readonly string[], boolean, string]>([
    ["the last manager", ["a"], true, "attempting to demote the last manager of the swarm"],
    ["one that the quorum needs", ["a", "b"], false, "this would result in a loss of quorum"],
    ["one that raft does not know", ["b", "x"], true, "raft member of node a not found"],
  ])("can't be demoted: %s", async (_what, members, quorum, message) => {
    const { api, store } = setUp(raft(members, quorum));
    const node = await store.update((tx) => {
      if (members.length > 1) tx.nodes.create(manager("b"));
      return tx.nodes.create(manager("a"));
    });
    expect(await refusal(api.updateNode(demote(node), context))).toContain(message);
  });

  it("remove: only when down or forced; bars the certificate and orphans the tasks", async () => {
    const { api, store } = setUp(raft([]));
    await store.update((tx) => {
      tx.clusters.create(cluster);
      tx.nodes.create(
        Node.create({
          id: "w",
          status: NodeStatus.create({ state: NodeStatus_State.READY }),
          certificate: Certificate.create(),
        }),
      );
      tx.tasks.create(Task.create({ id: "t", nodeId: "w", status: TaskStatus.create({ state: TaskState.RUNNING }) }));
      tx.tasks.create(Task.create({ id: "u", nodeId: "w", status: TaskStatus.create({ state: TaskState.COMPLETE }) }));
    });
    expect(await refusal(api.removeNode(RemoveNodeRequest.create({ nodeId: "w" }), context))).toContain(
      "FailedPrecondition: node w is not down and can't be removed",
    );
    await api.removeNode(RemoveNodeRequest.create({ nodeId: "w", force: true }), context);
    expect(store.view((tx) => tx.nodes.get("w"))).toBeUndefined();
    expect(store.view((tx) => Object.keys(tx.clusters.get("c")!.blacklistedCertificates))).toEqual(["w"]);
    expect(store.view((tx) => tx.tasks.find(byNode("w")).map(({ status }) => status.state))).toEqual([
      TaskState.ORPHANED,
      TaskState.COMPLETE,
    ]);
  });

  it("remove: refuses a member of the raft group", async () => {
    const { api, store } = setUp(raft(["a"]));
    await store.update((tx) => tx.nodes.create(manager("a")));
    expect(await refusal(api.removeNode(RemoveNodeRequest.create({ nodeId: "a", force: true }), context))).toContain(
      "It must be demoted to worker before removal",
    );
  });
});

describe("the cluster", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const cluster = Cluster.create({
    id: "c",
    spec: ClusterSpec.create({ annotations: annotations(defaultClusterName) }),
    rootCa: RootCA.create({
      caKey: bytes,
      caCert: bytes,
      joinTokens: { worker: "SWMTKN-1-d-w", manager: "SWMTKN-1-d-m" },
    }),
    unlockKeys: [{ subsystem: "swarm-manager", algorithm: 0, key: bytes, lamportTime: 0 }],
    networkBootstrapKeys: [{ subsystem: "networking:gossip", algorithm: 0, key: bytes, lamportTime: 0 }],
  });

  it("never shows its keys", async () => {
    const { api, store } = setUp();
    await store.update((tx) => tx.clusters.create(cluster));
    const { clusters } = await api.listClusters(ListClustersRequest.create(), context);
    expect(clusters[0]).toMatchObject({ unlockKeys: [], networkBootstrapKeys: [], defaultAddressPool: ["10.0.0.0/8"] });
    expect(clusters[0]?.rootCa.caKey).toHaveLength(0);
    expect(clusters[0]?.rootCa.caCert).toEqual(bytes);
  });

  it("rotates the token that is asked for and keeps what an update does not see", async () => {
    const { api, store } = setUp();
    const created = await store.update((tx) => tx.clusters.create(cluster));
    const request = UpdateClusterRequest.create({
      clusterId: "c",
      clusterVersion: created.meta.version,
      spec: created.spec,
      rotation: KeyRotation.create({ workerJoinToken: true }),
    });
    await api.updateCluster(request, context);
    const after = store.view((tx) => tx.clusters.get("c"))!;
    expect(after.rootCa.joinTokens.worker).toMatch(/^SWMTKN-1-d-[0-9a-z]{25}$/);
    expect(after.rootCa.joinTokens.manager).toBe("SWMTKN-1-d-m");
    expect(after.rootCa.caKey).toEqual(bytes);
  });

  it("makes an unlock key when autolock is switched on, another on demand, none when it is off", async () => {
    const { api, store } = setUp();
    await store.update((tx) => tx.clusters.create({ ...cluster, unlockKeys: [] }));
    const keyAfter = async (autoLockManagers: boolean, managerUnlockKey: boolean) => {
      const { meta, spec } = store.view((tx) => tx.clusters.get("c"))!;
      const request = UpdateClusterRequest.create({
        clusterId: "c",
        clusterVersion: meta.version,
        spec: { ...spec, encryptionConfig: { autoLockManagers } },
        rotation: KeyRotation.create({ managerUnlockKey }),
      });
      const answer = await api.updateCluster(request, context);
      expect(answer.cluster!.unlockKeys).toEqual([]);
      return store.view((tx) => tx.clusters.get("c"))!.unlockKeys.map(({ key }) => Buffer.from(key).toString("hex"));
    };
    expect(await keyAfter(false, true)).toEqual([]);
    const first = await keyAfter(true, false);
    expect(first).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    expect(await keyAfter(true, false)).toEqual(first);
    const second = await keyAfter(true, true);
    expect(second).toHaveLength(1);
    expect(second).not.toEqual(first);
    expect(await keyAfter(false, false)).toEqual([]);
    expect(await keyAfter(true, false)).not.toEqual(second);
  });
});

describe("networks, secrets", () => {
  it("a subnet that overlaps another network's is refused", async () => {
    const { api } = setUp();
    const create = (name: string, subnet: string) => {
      const ipam = IPAMOptions.create({ configs: [IPAMConfig.create({ subnet })] });
      const spec = NetworkSpec.create({ annotations: annotations(name), ipam });
      return api.createNetwork(CreateNetworkRequest.create({ spec }), context);
    };
    await create("one", "10.50.0.0/24");
    expect(await refusal(create("two", "10.50.0.128/25"))).toBe(
      "InvalidArgument: subnet 10.50.0.128/25 overlaps 10.50.0.0/24 of network one: choose another subnet",
    );
    await create("three", "10.50.1.0/24");
  });

  it("a network in use stays", async () => {
    const { api, store } = setUp();
    const spec = NetworkSpec.create({ annotations: annotations("net") });
    const { network } = await api.createNetwork(CreateNetworkRequest.create({ spec }), context);
    expect(await refusal(api.createNetwork(CreateNetworkRequest.create({ spec }), context))).toContain("AlreadyExists");
    const web = webSpec();
    const networks = [NetworkAttachmentConfig.create({ target: network!.id })];
    const { service } = await api.createService(
      CreateServiceRequest.create({ spec: { ...web, task: { ...web.task, networks } } }),
      context,
    );
    const remove = () => api.removeNetwork(RemoveNetworkRequest.create({ networkId: network!.id }), context);
    expect(await refusal(remove())).toContain(`network ${network!.id} is in use by service ${service!.id}`);
    await api.removeService(RemoveServiceRequest.create({ serviceId: service!.id }), context);
    await remove();
    expect(store.view((tx) => tx.networks.find(all))).toEqual([]);
  });

  it("there is one ingress network, which stays while a service publishes through it", async () => {
    const { api, store } = setUp();
    const mesh = NetworkSpec.create({ annotations: annotations("ingress"), ingress: true });
    await store.update((tx) => tx.networks.create(Network.create({ id: "ingress-id", spec: mesh })));
    const second = NetworkSpec.create({ annotations: annotations("mesh"), ingress: true });
    expect(await refusal(api.createNetwork(CreateNetworkRequest.create({ spec: second }), context))).toContain(
      "AlreadyExists: ingress network (ingress-id) is already present",
    );
    const endpoint = EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 80 })] });
    const { service } = await api.createService(
      CreateServiceRequest.create({ spec: { ...webSpec(), endpoint } }),
      context,
    );
    const remove = () => api.removeNetwork(RemoveNetworkRequest.create({ networkId: "ingress-id" }), context);
    expect(await refusal(remove())).toContain("ingress network cannot be removed because service");
    await api.removeService(RemoveServiceRequest.create({ serviceId: service!.id }), context);
    await remove();
    expect(
      await refusal(api.createService(CreateServiceRequest.create({ spec: { ...webSpec(), endpoint } }), context)),
    ).toContain("FailedPrecondition: service needs ingress network");
  });

  it("the networks that nodes have by themselves are not removed", async () => {
    const { api, store } = setUp();
    await store.update((tx) => tx.networks.create(predefinedNetwork("host-id", "host")));
    expect(await refusal(api.removeNetwork(RemoveNetworkRequest.create({ networkId: "host-id" }), context))).toContain(
      "FailedPrecondition: network host-id (host) is a swarm predefined network and cannot be removed",
    );
  });

  it("a secret's data never comes back, and one in use stays", async () => {
    const { api } = setUp();
    const spec = SecretSpec.create({ annotations: annotations("key"), data: Uint8Array.of(7) });
    const { secret } = await api.createSecret(CreateSecretRequest.create({ spec }), context);
    expect(secret?.spec.data).toHaveLength(0);
    const reference = SecretReference.create({
      secretId: secret!.id,
      secretName: "key",
      file: FileTarget.create({ name: "k" }),
    });
    await api.createService(CreateServiceRequest.create({ spec: webSpec({}, { secrets: [reference] }) }), context);
    expect(await refusal(api.removeSecret(RemoveSecretRequest.create({ secretId: secret!.id }), context))).toBe(
      "InvalidArgument: secret 'key' is in use by the following service: web",
    );
  });
});

it("health answers by name and does not know others", async () => {
  const health = createHealthHandlers({ Raft: () => "serving", ControlAPI: () => "not-serving" });
  expect(await health.check({ service: "Raft" }, context)).toMatchObject({ status: 1 });
  expect(await health.check({ service: "ControlAPI" }, context)).toMatchObject({ status: 2 });
  expect(await health.check({ service: "" }, context)).toMatchObject({ status: 1 });
  expect(await refusal(health.check({ service: "toString" }, context))).toContain("NotFound");
});
