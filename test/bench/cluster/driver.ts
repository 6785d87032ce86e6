/**
 * Runs in a manager's host and times what a swarm does, over one open connection, so that starting a command line is not
 * part of any figure. `node driver.ts VERB ARGUMENT…` prints one JSON document; verbs that wait for something that is
 * done to the swarm print `armed` before it. Times: milliseconds, or epoch milliseconds where the name ends in At.
 */
import { existsSync } from "node:fs";
import { credentials } from "@grpc/grpc-js";
import {
  Control,
  CreateConfigRequest,
  CreateServiceRequest,
  GetServiceRequest,
  ListNodesRequest,
  ListServicesRequest,
  ListTasksRequest,
  type Node,
  NodeStatus_State,
  RaftMemberStatus_Reachability,
  RemoveServiceRequest,
  type Service,
  type Task,
  TaskState,
  UpdateServiceRequest,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";

const socket = "/run/swarmd.sock";
/** Half of this is how late a figure is; what polling takes of the leader's time is in the figures, too. */
const pollPeriodMs = 5;
const client = new RpcClient(`unix:${socket}`, credentials.createInsecure());
/** After this a write that found no leader is tried again. */
const writeTimeoutMs = 200;
const { methods } = Control;

const now = () => performance.timeOrigin + performance.now();
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Awaits `probe`; errors count as "not yet", since managers come and go. */
async function poll(probe: () => Promise<boolean>): Promise<number> {
  for (;;) {
    if (await probe().catch(() => false)) return now();
    await pause(pollPeriodMs);
  }
}

async function nodes(): Promise<readonly Node[]> {
  return (await client.call(methods.listNodes, ListNodesRequest.create({}), { timeoutMs: 500 })).nodes;
}

async function service(name: string): Promise<Service> {
  const filters = { names: [name] };
  const request = ListServicesRequest.create({ filters: { ...emptyServiceFilters, ...filters } });
  const found = (await client.call(methods.listServices, request)).services[0];
  if (!found) throw new Error(`no service ${name}`);
  return found;
}

const emptyServiceFilters = { names: [], idPrefixes: [], labels: {}, namePrefixes: [], runtimes: [] };
const emptyTaskFilters = {
  ...{ names: [], idPrefixes: [], labels: {}, serviceIds: [], nodeIds: [], desiredStates: [], namePrefixes: [] },
  ...{ runtimes: [], upToDate: false },
};

async function tasksOf(serviceId: string): Promise<readonly Task[]> {
  const request = ListTasksRequest.create({ filters: { ...emptyTaskFilters, serviceIds: [serviceId] } });
  return (await client.call(methods.listTasks, request, { timeoutMs: 2_000 })).tasks;
}

const stateOf = (task: Task) => task.status?.state ?? TaskState.NEW;
const isRunning = (task: Task) => stateOf(task) === TaskState.RUNNING && task.desiredState === TaskState.RUNNING;
/** On its node, or on its way there or away. */
const isThere = (task: Task) => stateOf(task) <= TaskState.RUNNING;

/** Exactly `replicas` tasks run and no others are there. */
async function settled(id: string, replicas: number, also: (task: Task) => boolean = () => true): Promise<boolean> {
  const there = (await tasksOf(id)).filter(isThere);
  return there.length === replicas && there.every((task) => isRunning(task) && also(task));
}

async function updateService(name: string, change: (spec: Service["spec"]) => Service["spec"]): Promise<Service> {
  const { id } = await service(name);
  const current = (await client.call(methods.getService, GetServiceRequest.create({ serviceId: id }))).service!;
  const request = UpdateServiceRequest.create({
    serviceId: id,
    serviceVersion: current.meta!.version!,
    spec: change(current.spec)!,
  });
  return (await client.call(methods.updateService, request)).service!;
}

const verbs: Readonly<Record<string, (...args: string[]) => Promise<unknown>>> = {
  async create(name = "", image = "", count = "", ...args) {
    const base = CreateServiceRequest.create({});
    const { ServiceSpec, TaskSpec, ContainerSpec } = await import("@starling/api");
    const container = ContainerSpec.create({ image, command: args, stopGracePeriod: { seconds: 2, nanos: 0 } });
    const spec = ServiceSpec.create({
      annotations: { name, labels: {}, indices: [] },
      task: TaskSpec.create({ container }),
      replicated: { replicas: Number(count) },
    });
    // The connection and its first call are no part of the figures.
    await nodes();
    const start = now();
    const created = (await client.call(methods.createService, { ...base, spec })).service!;
    const callMs = now() - start;
    return { callMs, runningMs: (await poll(() => settled(created.id, Number(count)))) - start };
  },
  async scale(name = "", count = "") {
    const start = now();
    const { id } = await updateService(name, (spec) => ({ ...spec!, replicated: { replicas: Number(count) } }));
    return { ms: (await poll(() => settled(id, Number(count)))) - start };
  },
  async update(name = "", image = "", count = "") {
    const start = now();
    const { id } = await updateService(name, (spec) => ({
      ...spec!,
      task: { ...spec!.task, container: { ...spec!.task.container!, image } },
    }));
    const isNew = (task: Task) => task.spec?.container?.image.startsWith(image) === true;
    return { ms: (await poll(() => settled(id, Number(count), isNew))) - start };
  },
  async remove(name = "") {
    const start = now();
    const { id } = await service(name);
    await client.call(methods.removeService, RemoveServiceRequest.create({ serviceId: id }));
    return { ms: (await poll(async () => (await tasksOf(id)).filter(isThere).length === 0)) - start };
  },
  /** A node of that host name that was not there before is ready (a manager: reachable). */
  async join(hostname = "", role = "") {
    const known = new Set((await nodes().catch(() => [])).map((node) => node.id));
    console.log("armed");
    const isUp = (node: Node) =>
      node.status?.state === NodeStatus_State.READY &&
      (role !== "manager" || node.managerStatus?.reachability === RaftMemberStatus_Reachability.REACHABLE);
    const isNew = (node: Node) => !known.has(node.id) && node.description?.hostname === hostname;
    // A client that is refused waits longer each time; a first manager's socket is not there yet.
    await poll(async () => existsSync(socket));
    return { readyAt: await poll(async () => (await nodes()).some((node) => isNew(node) && isUp(node))) };
  },
  /** The node is shown down, and all tasks run on others. */
  async loss(hostname = "", name = "", count = "") {
    const { id } = await service(name);
    const lost = (await nodes()).find(
      (node) => node.description?.hostname === hostname && node.status?.state === NodeStatus_State.READY,
    );
    console.log("armed");
    const downAt = await poll(async () =>
      (await nodes()).some((node) => node.id === lost?.id && node.status?.state === NodeStatus_State.DOWN),
    );
    const elsewhere = async () => (await tasksOf(id)).filter((t) => isRunning(t) && t.nodeId !== lost?.id).length;
    return { downAt, runningAt: await poll(async () => (await elsewhere()) >= Number(count)) };
  },
  /**
   * Writes until standard input ends and then one more write, begun after that, is accepted. Returns when each accepted
   * write began and ended.
   */
  async write() {
    const accepted: (readonly [beganAt: number, endedAt: number])[] = [];
    let endedAt = Number.POSITIVE_INFINITY;
    process.stdin.once("end", () => {
      endedAt = now();
    });
    process.stdin.resume();
    console.log("armed");
    for (let count = 0; (accepted.at(-1)?.[0] ?? 0) < endedAt; count++) {
      const began = now();
      const annotations = { name: `bench-${process.pid}-${began}-${count}`, labels: {}, indices: [] };
      const request = CreateConfigRequest.create({ spec: { annotations, data: new Uint8Array([1]) } });
      await client.call(methods.createConfig, request, { timeoutMs: writeTimeoutMs }).then(
        () => accepted.push([began, now()]),
        // No leader at the moment.
        () => undefined,
      );
      await pause(pollPeriodMs);
    }
    return accepted;
  },
};

const [verb = "", ...args] = process.argv.slice(2);
const run = verbs[verb];
if (!run) throw new Error(`no verb "${verb}": there are ${Object.keys(verbs).join(", ")}`);
console.log(JSON.stringify(await run(...args)));
client.close();
process.exit(0);
