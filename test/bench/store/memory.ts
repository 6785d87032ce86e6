import {
  Annotations,
  ContainerSpec,
  ContainerStatus,
  Endpoint,
  EndpointSpec,
  Mount,
  Network,
  NetworkAttachment,
  NetworkAttachmentConfig,
  NetworkSpec,
  Node,
  NodeDescription,
  ReplicatedService,
  Service,
  ServiceSpec,
  StoreSnapshot,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
} from "@starling/api";
import { newId, systemClock } from "@starling/base";
import { all, MemoryStore } from "@starling/store";

/** Bytes of memory that each of many tasks costs its store. */
export interface TaskMemory {
  /** After the loops made and moved them and their nodes reported: what a leader holds. */
  readonly written: number;
  /** After a restart from the snapshot of that. */
  readonly restored: number;
}

// Run as a program: node --expose-gc memory.ts TASKS SERVICES; prints a TaskMemory. A process of its own, so that nothing
// but the store is counted.

const [tasks, services] = process.argv.slice(2).map(Number) as [number, number];
const nodes = 1_000;

/** A service as users have them: variables, labels, a mount, two networks, one port. */
function newService(n: number, networks: readonly Network[]): Service {
  const container = ContainerSpec.create({
    image: `registry.example.com/team/web-${n}:1.2.3@sha256:${"0123456789abcdef".repeat(4)}`,
    env: Array.from({ length: 10 }, (_, i) => `VARIABLE_${i}=value ${i} of service ${n}`),
    labels: { "com.example.team": "web", "com.example.stage": "production" },
    mounts: [Mount.create({ source: "data", target: "/data" })],
  });
  const task = TaskSpec.create({
    container,
    networks: networks.map(({ id }) => NetworkAttachmentConfig.create({ target: id })),
  });
  const annotations = Annotations.create({ name: `web-${n}`, labels: { "com.example.owner": `team-${n}` } });
  const replicated = ReplicatedService.create({ replicas: tasks / services });
  return Service.create({ id: newId(), spec: ServiceSpec.create({ annotations, task, replicated }) });
}

async function filled(): Promise<MemoryStore> {
  const store = new MemoryStore();
  const nodeIds = Array.from({ length: nodes }, () => newId());
  await store.batch(nodeIds, (tx, id) => {
    tx.nodes.create(Node.create({ id, description: NodeDescription.create({ hostname: `host-${id}` }) }));
  });
  const networks = await store.update((tx) =>
    ["front", "back"].map((name) =>
      tx.networks.create(
        Network.create({ id: newId(), spec: NetworkSpec.create({ annotations: Annotations.create({ name }) }) }),
      ),
    ),
  );
  const made = await store.update((tx) =>
    Array.from({ length: services }, (_, n) => tx.services.create(newService(n, networks))),
  );
  const now = () => timestampOfMs(systemClock.now());
  await store.batch(Array.from({ length: tasks }).keys(), (tx, n) => {
    const service = made[n % services]!;
    const status = TaskStatus.create({ state: TaskState.NEW, timestamp: now(), message: "created" });
    tx.tasks.create(
      Task.create({
        id: newId(),
        serviceId: service.id,
        slot: Math.floor(n / services) + 1,
        spec: service.spec.task,
        specVersion: service.specVersion,
        serviceAnnotations: service.spec.annotations,
        endpoint: Endpoint.create({ spec: EndpointSpec.create() }),
        desiredState: TaskState.RUNNING,
        status,
      }),
    );
  });
  const ids = store.view((tx) => tx.tasks.find(all).map(({ id }) => id));
  await store.batch(ids.entries(), (tx, [n, id]) => {
    const attachments = networks.map((network, i) =>
      NetworkAttachment.create({ network, addresses: [`10.${i}.${n >> 8}.${n & 255}/16`] }),
    );
    tx.tasks.update({ ...tx.tasks.get(id)!, networks: attachments, nodeId: nodeIds[n % nodes]! });
  });
  for (const state of [TaskState.ASSIGNED, TaskState.PREPARING, TaskState.RUNNING]) {
    await store.batch(ids, (tx, id) => {
      const container = ContainerStatus.create({ containerId: `${id}${id}`, pid: 1234 });
      const report = TaskStatus.create({ state, timestamp: now(), message: "started", container });
      tx.tasks.update({ ...tx.tasks.get(id)!, status: TaskStatus.decode(TaskStatus.encode(report)) });
    });
  }
  return store;
}

function heapBytes(): number {
  for (let i = 0; i < 3; i++) globalThis.gc!();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** A function of its own: nothing of the decoded snapshot may be left in the frame of its caller. */
function restart(): void {
  store.restore(StoreSnapshot.decode(bytes));
}

const empty = heapBytes();
let store = await filled();
const written = (heapBytes() - empty) / tasks;
const bytes = StoreSnapshot.encode(store.snapshot());
store = new MemoryStore();
const withBytes = heapBytes();
restart();
const restored = (heapBytes() - withBytes) / tasks;
// Read after the last measurement, so that neither can go before it.
if (store.view((tx) => tx.tasks.size) !== tasks || bytes.length === 0) throw new Error("the snapshot lost tasks");
console.log(JSON.stringify({ written, restored } satisfies TaskMemory));
