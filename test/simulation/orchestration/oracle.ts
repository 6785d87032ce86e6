/** Pure: no clock, no I/O, no randomness. */
import {
  mayRebalance,
  type Node,
  nodeMatches,
  parseConstraints,
  placementStrategy,
  RestartPolicy_RestartCondition,
  rebalancePolicy,
  type Service,
  sameValue,
  type Task,
  TaskState,
  taskStateName,
  timestampMs,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { all, byService, type ReadTx } from "@starling/store";
import type { SimHost } from "./agent.ts";
import { addressesOf, hostPortsOf } from "./watchdog.ts";

const { RUNNING, COMPLETE, FAILED, REJECTED, PENDING, ASSIGNED } = TaskState;
const { UPDATING, ROLLBACK_STARTED } = UpdateStatus_UpdateState;

/** Tasks of a service that are told with what is wrong with it. */
const toldMost = 12;

/** What the store and the hosts are at. */
export interface Sight {
  readonly tx: ReadTx;
  readonly hosts: readonly SimHost[];
  readonly historyLimit: number;
}

/**
 * What must hold when nothing has struck for long, written from what specs mean and not from the planners: each service has
 * exactly what its spec says, containers are the tasks that run, nothing is given twice, and history is bounded.
 */
export function checkAtRest({ tx, hosts, historyLimit }: Sight): string[] {
  const nodes = new Books(tx, hosts);
  const violations = tx.services.find(all).flatMap((service) => checkService(tx, service, nodes, historyLimit));
  for (const task of tx.tasks.find(all)) {
    if (tx.services.get(task.serviceId) === undefined) violations.push(`${describe(task)}: its service is gone`);
    const runs = nodes.hostOf(task.nodeId)?.containers.has(task.id) ?? false;
    if (task.status.state === RUNNING && !runs) violations.push(`${describe(task)} has no container`);
    if (task.status.state > RUNNING && runs) violations.push(`${describe(task)} has a container`);
  }
  for (const host of hosts) {
    for (const { id } of host.containers.values()) {
      const task = tx.tasks.get(id);
      if (task === undefined) violations.push(`container ${id} on ${host.id} is of no task`);
      else if (task.nodeId !== host.id) violations.push(`container ${id} runs on ${host.id}: ${describe(task)}`);
    }
  }
  violations.push(...checkGivenOnce(tx), ...nodes.overcommitted());
  return violations;
}

/** Nodes, and what the tasks on them take up. */
class Books {
  readonly nodes: readonly Node[];
  readonly #hosts: ReadonlyMap<string, SimHost>;
  readonly #memory = new Map<string, number>();
  readonly #ports = new Set<string>();
  readonly #counts = new Map<string, number>();

  constructor(tx: ReadTx, hosts: readonly SimHost[]) {
    this.nodes = tx.nodes.find(all);
    this.#hosts = new Map(hosts.map((host) => [host.id, host]));
    for (const task of tx.tasks.find(all)) {
      const { nodeId, status, serviceId } = task;
      if (status.state < ASSIGNED || status.state > RUNNING) continue;
      this.#memory.set(nodeId, (this.#memory.get(nodeId) ?? 0) + memoryOf(task));
      for (const port of hostPortsOf(task)) this.#ports.add(`${nodeId} ${port}`);
      const key = `${serviceId} ${nodeId}`;
      if (task.desiredState <= RUNNING) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    }
  }

  hostOf(nodeId: string): SimHost | undefined {
    return this.#hosts.get(nodeId);
  }

  /** Nodes that the service's constraints allow. */
  eligible({ spec }: Service): readonly Node[] {
    const constraints = parseConstraints(spec.task.placement?.constraints ?? []);
    return this.nodes.filter((node) => nodeMatches(constraints, node));
  }

  /** The task could run on the node: then nothing excuses that it waits. */
  hasRoom(task: Task, { id, description }: Node): boolean {
    const limit = task.spec.placement?.maxReplicas ?? 0;
    if (limit > 0 && (this.#counts.get(`${task.serviceId} ${id}`) ?? 0) >= limit) return false;
    if (hostPortsOf(task).some((port) => this.#ports.has(`${id} ${port}`))) return false;
    return (this.#memory.get(id) ?? 0) + memoryOf(task) <= (description?.resources?.memoryBytes ?? 0);
  }

  overcommitted(): readonly string[] {
    return this.nodes.flatMap(({ id, description }) => {
      const [taken, has] = [this.#memory.get(id) ?? 0, description?.resources?.memoryBytes ?? 0];
      return taken > has ? [`${id}: ${taken} of ${has} bytes are reserved`] : [];
    });
  }
}

function checkService(tx: ReadTx, service: Service, books: Books, historyLimit: number): string[] {
  const { updateStatus, jobStatus } = service;
  const tasks = tx.tasks.find(byService(service.id));
  const some = tasks.slice(0, toldMost).map(describe);
  const bad = (what: string) => `${service.id} ${updateStatus?.message ?? ""}: ${what}\n  ${some.join("\n  ")}`;
  const violations = checkHistory(tasks, service, historyLimit).map(bad);
  const eligible = books.eligible(service);
  const eligibleIds = new Set(eligible.map(({ id }) => id));
  const live = tasks.filter(({ status }) => status.state <= RUNNING);
  // An update cannot go on while its tasks find no room; that they find none is held against the nodes below.
  const held = live.some(({ status }) => status.state <= PENDING);
  for (const [slot, there] of slotsOf(live, service)) {
    if (there.length > 1 && !held) violations.push(bad(`slot ${slot} has ${there.length} tasks`));
  }
  for (const task of live) {
    if (task.desiredState > COMPLETE && !held) violations.push(bad(`${describe(task)} should have ended`));
    const waits = task.status.state <= PENDING;
    if (task.status.state < RUNNING && !waits && !held) violations.push(bad(`${describe(task)} does not get on`));
    if (waits && task.status.err === "" && task.desiredState === RUNNING)
      violations.push(bad(`${describe(task)} waits and does not say why`));
    const fits = task.nodeId === "" ? eligible : eligible.filter(({ id }) => id === task.nodeId);
    const room = waits && task.desiredState !== TaskState.READY && fits.find((node) => books.hasRoom(task, node));
    if (room) violations.push(bad(`${describe(task)} waits, and ${room.id} has room`));
    if (held) continue;
    if (!sameSpec(task, service)) violations.push(bad(`${describe(task)} is of an old spec`));
    if (!waits && !eligibleIds.has(task.nodeId)) violations.push(bad(`${describe(task)} is where it must not be`));
  }
  const updating = updateStatus?.state === UPDATING || updateStatus?.state === ROLLBACK_STARTED;
  if (updating && !held) violations.push(bad("its update has not ended"));
  const labels = tx.clusters.find(all)[0]?.spec.annotations.labels ?? {};
  violations.push(...checkSpread(service, tasks, books, labels).map(bad));
  violations.push(
    ...(jobStatus ? checkJob(service, tasks, eligible) : checkReplicas(service, tasks, eligible)).map(bad),
  );
  return violations;
}

/** So many slots, or these nodes, have a task: one that runs or waits, or one that its policy lets rest. */
function checkReplicas(service: Service, tasks: readonly Task[], eligible: readonly Node[]): string[] {
  const { spec } = service;
  const kept = tasks.filter(({ desiredState }) => desiredState < TaskState.REMOVE);
  const isLive = ({ status }: Task) => status.state <= RUNNING;
  const slots = [...slotsOf(kept, service)];
  const filled = slots.filter(([, there]) => there.some(isLive) || mayRest(service, there)).map(([slot]) => slot);
  if (spec.replicated) {
    const { replicas } = spec.replicated;
    return filled.length === replicas ? [] : [`${filled.length} of ${replicas} slots are filled`];
  }
  const [filledIds, eligibleIds] = [new Set(filled), new Set(eligible.map(({ id }) => id))];
  const missing = [...eligibleIds].filter((id) => !filledIds.has(id));
  // What only rests on a node that it may not be on any more is its history.
  const surplus = slots.filter(([id, there]) => !eligibleIds.has(id) && there.some(isLive)).map(([id]) => id);
  return missing.length + surplus.length === 0 ? [] : [`missing on ${missing}; surplus on ${surplus}`];
}

/** Of a service that is to be rebalanced, and whose replicas all run: no move of one would make it more even. */
function checkSpread(
  { id, spec }: Service,
  tasks: readonly Task[],
  books: Books,
  cluster: Readonly<Record<string, string>>,
): string[] {
  const { labels } = spec.annotations;
  const running = tasks.filter(({ status, desiredState }) => status.state === RUNNING && desiredState === RUNNING);
  if (spec.replicated === undefined || running.length !== spec.replicated.replicas || running.length === 0) return [];
  if (!mayRebalance(labels, rebalancePolicy(cluster))) return [];
  if (placementStrategy(labels, cluster) === "binpack") return [];
  const byZone = (spec.task.placement?.preferences ?? []).length > 0;
  const zoneOf = ({ spec: { annotations } }: Node) => annotations.labels["zone"];
  const on = (holds: (node: Node) => boolean) => {
    const ids = new Set(books.nodes.filter(holds).map((node) => node.id));
    return running.filter(({ nodeId }) => ids.has(nodeId)).length;
  };
  const any: Task = { ...running[0]!, spec: spec.task };
  const takers = books.eligible({ spec } as Service).filter((node) => books.hasRoom(any, node));
  return takers.flatMap((to) =>
    books.nodes.flatMap((from) => {
      const apart = byZone && zoneOf(from) !== zoneOf(to);
      const count = (node: Node) => on((other) => (apart ? zoneOf(other) === zoneOf(node) : other.id === node.id));
      const gives = running.some(({ nodeId }) => nodeId === from.id);
      if (!gives || count(from) - count(to) < 2) return [];
      return [
        `${id} is uneven: ${count(from)} on ${from.id}, ${count(to)} on ${to.id}${apart ? " and their zones" : ""}`,
      ];
    }),
  );
}

/** Each slot (or node) has completed in the present iteration. */
function checkJob({ spec, jobStatus }: Service, tasks: readonly Task[], eligible: readonly Node[]): string[] {
  const present = tasks.filter(({ jobIteration }) => jobIteration?.index === jobStatus?.jobIteration.index);
  const done = present.filter(({ status }) => status.state === COMPLETE);
  const waits = present.some(({ status }) => status.state <= PENDING);
  const places = new Set(done.map((task) => (spec.replicatedJob ? String(task.slot) : task.nodeId)));
  const expected = spec.replicatedJob
    ? Array.from({ length: spec.replicatedJob.totalCompletions }, (_, i) => String(i))
    : eligible.map(({ id }) => id);
  const missing = expected.filter((place) => !places.has(place));
  const known = new Set(expected);
  const surplus = spec.replicatedJob ? [...places].filter((place) => !known.has(place)) : [];
  if (surplus.length > 0) return [`completed beyond what was asked: ${surplus}`];
  return missing.length === 0 || waits ? [] : [`not completed: ${missing}`];
}

/** The last task came to an end by which the service's restart policy leaves it, or may have used up its attempts. */
function mayRest({ spec }: Service, there: readonly Task[]): boolean {
  const createdMs = ({ meta }: Task) => timestampMs(meta.createdAt!);
  const last = there.toSorted((a, b) => createdMs(a) - createdMs(b)).at(-1)!;
  const { state } = last.status;
  const { condition = RestartPolicy_RestartCondition.ANY, maxAttempts = 0 } = spec.task.restart ?? {};
  if (state !== COMPLETE && state !== FAILED && state !== REJECTED) return false;
  if (condition === RestartPolicy_RestartCondition.NONE) return true;
  if (condition === RestartPolicy_RestartCondition.ON_FAILURE && state === COMPLETE) return true;
  return maxAttempts > 0;
}

/** Ended tasks that are kept: as many a slot as the cluster says, or as are needed to count attempts. */
function checkHistory(tasks: readonly Task[], service: Service, historyLimit: number): string[] {
  const { spec, jobStatus } = service;
  const limit = Math.max(historyLimit, (spec.task.restart?.maxAttempts ?? 0) + 1, 1);
  const ended = tasks.filter(({ status }) => status.state > RUNNING && !(jobStatus && status.state === COMPLETE));
  return [...slotsOf(ended, service)]
    .filter(([, there]) => there.length > limit)
    .map(([slot, there]) => `slot ${slot} keeps ${there.length} ended tasks, ${limit} are allowed`);
}

/** No address has two holders. */
function checkGivenOnce(tx: ReadTx): string[] {
  const holders = new Map<string, string>();
  const violations: string[] = [];
  const hold = (address: string, who: string) => {
    const key = address.replace(/\/\d+$/, "");
    const other = holders.get(key);
    if (other !== undefined) violations.push(`address ${key} is of ${other} and of ${who}`);
    holders.set(key, who);
  };
  for (const node of tx.nodes.find(all)) {
    for (const { network, addresses } of node.attachments)
      for (const a of addresses) hold(`${network?.id} ${a}`, node.id);
  }
  for (const { id, endpoint } of tx.services.find(all)) {
    for (const { networkId, addr } of endpoint?.virtualIps ?? []) hold(`${networkId} ${addr}`, id);
  }
  for (const task of tx.tasks.find(all)) {
    if (task.status.state <= RUNNING) for (const address of addressesOf(task)) hold(address, describe(task));
  }
  return violations;
}

/** Placement alone replaces nothing, as long as the node still fits. */
function sameSpec(task: Task, { spec }: Service): boolean {
  const placeless = { placement: undefined };
  const same = task.spec === spec.task || sameValue({ ...task.spec, ...placeless }, { ...spec.task, ...placeless });
  return same && sameValue(task.endpoint?.spec, spec.endpoint);
}

/** By number, or by node where there is one task for each. */
function slotsOf(tasks: readonly Task[], { spec }: Service): Map<string, Task[]> {
  const numbered = spec.replicated !== undefined || spec.replicatedJob !== undefined;
  const slots = new Map<string, Task[]>();
  for (const task of tasks) {
    const slot = numbered ? String(task.slot) : task.nodeId;
    const there = slots.get(slot);
    if (there) there.push(task);
    else slots.set(slot, [task]);
  }
  return slots;
}

function memoryOf({ spec }: Task): number {
  return spec.resources?.reservations?.memoryBytes ?? 0;
}

/** A task on one line: `s1.2 abcde on n3 RUNNING→SHUTDOWN`. */
export function describe(task: Task): string {
  const { status, desiredState, slot, nodeId, serviceId } = task;
  const states = `${taskStateName(status.state)}→${taskStateName(desiredState)}`;
  return `${serviceId}.${slot} ${task.id.slice(0, 5)} on ${nodeId || "no node"} ${states}${status.err && ` (${status.err})`}`;
}
