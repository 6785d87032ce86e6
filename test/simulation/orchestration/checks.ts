/** Pure: no clock, no I/O, no randomness. */
import {
  isTerminal,
  type Node,
  nodeMatches,
  parseConstraints,
  type Service,
  type Task,
  TaskState,
  taskStateName,
  timestampMs,
  UpdateConfig_UpdateOrder,
  UpdateStatus_UpdateState,
} from "@starling/api";
import { all, byService, type ReadTx } from "@starling/store";
import { behaviour, type SimHost } from "./agent.ts";

export interface Sight {
  readonly tx: ReadTx;
  readonly hosts: readonly SimHost[];
  readonly nowMs: number;
}

/** Hosts that nothing struck for this long are what managers believe them to be. */
const calmMs = 150_000;

/** What must hold at any time: no slot is doubled on hosts in order, and what is desired never goes back. */
export function checkAlways({ tx, hosts, nowMs }: Sight): string[] {
  const violations: string[] = [];
  const running = new Map<string, string[]>();
  for (const host of hosts) {
    if (nowMs - host.troubledAt < calmMs) continue;
    for (const task of host.containers.values()) {
      const key = `${task.serviceId}.${task.slot === 0 && !isNumbered(tx, task) ? task.nodeId : task.slot}`;
      running.set(key, [...(running.get(key) ?? []), history(tx, task)]);
    }
  }
  for (const [key, tasks] of running) {
    const service = tx.services.get(key.split(".")[0]!);
    // A job's new iteration begins while the old one stops.
    if (service === undefined || service.jobStatus !== undefined) continue;
    // A service keeps its order for life here; one that starts first may double a slot for each spec under way.
    if (tasks.length > 1 && service.spec.update?.order !== UpdateConfig_UpdateOrder.START_FIRST)
      violations.push(`${key} runs ${tasks.length} times:\n${tasks.join("\n")}`);
  }
  return violations;
}

/** A task with what the store knows of its slot, oldest first. */
function history(tx: ReadTx, { id, slot, serviceId, nodeId }: Task): string {
  const service = tx.services.get(serviceId);
  const ofSlot = tx.tasks
    .find(byService(serviceId))
    .filter((task) => task.slot === slot && (slot > 0 || task.nodeId === nodeId));
  const lines = ofSlot
    .sort((a, b) => createdMs(a) - createdMs(b))
    .map((task) => `  ${((createdMs(task) - 1.7e12) / 1000).toFixed(2)} v${task.specVersion?.index} ${describe(task)}`);
  return [`${id} (service at v${service?.specVersion?.index}, ${service?.updateStatus?.message})`, ...lines].join("\n");
}

function createdMs({ meta }: Task): number {
  return meta.createdAt ? timestampMs(meta.createdAt) : 0;
}

function isNumbered(tx: ReadTx, task: Task): boolean {
  return tx.services.get(task.serviceId)?.spec.replicatedJob !== undefined;
}

/** What must hold when nothing has struck for long: tasks equal specs, containers equal tasks. */
export function checkAtRest({ tx, hosts }: Sight): string[] {
  const violations: string[] = [];
  const nodes = tx.nodes.find(all);
  for (const service of tx.services.find(all)) violations.push(...checkService(tx, service, nodes));
  for (const task of tx.tasks.find(all)) {
    if (tx.services.get(task.serviceId) === undefined) violations.push(`${describe(task)}: its service is gone`);
  }
  for (const host of hosts) {
    for (const { id } of host.containers.values()) {
      const task = tx.tasks.get(id);
      if (task === undefined) violations.push(`container ${id} on ${host.id} is of no task`);
      else if (task.nodeId !== host.id) violations.push(`container ${id} runs on ${host.id}: ${describe(task)}`);
    }
  }
  for (const task of tx.tasks.find(all)) {
    const runs = hosts.some((host) => host.containers.has(task.id));
    if (task.status.state === TaskState.RUNNING && !runs) violations.push(`${describe(task)} has no container`);
    if (isTerminal(task.status.state) && runs) violations.push(`${describe(task)} has a container`);
  }
  return violations;
}

function checkService(tx: ReadTx, service: Service, nodes: readonly Node[]): string[] {
  const { spec } = service;
  const constraints = parseConstraints(spec.task.placement?.constraints ?? []);
  const fitting = nodes.filter((node) => nodeMatches(constraints, node)).map(({ id }) => id);
  const tasks = tx.tasks.find(byService(service.id));
  const { UPDATING, ROLLBACK_STARTED, PAUSED, ROLLBACK_PAUSED } = UpdateStatus_UpdateState;
  const state = service.updateStatus?.state;
  const restless = Object.values(behaviour).some((label) => label in spec.annotations.labels);
  if (restless || state === PAUSED || state === ROLLBACK_PAUSED) return [];
  const bad = (what: string) => `${service.id}: ${what}: ${tasks.map(describe).join("; ")}`;
  const violations: string[] = [];
  if (state === UPDATING || state === ROLLBACK_STARTED) violations.push(bad("its update has not ended"));
  const isJob = service.jobStatus !== undefined;
  const iteration = service.jobStatus?.jobIteration.index;
  const done = tasks.filter((task) =>
    isJob
      ? task.status.state === TaskState.COMPLETE && task.jobIteration?.index === iteration
      : task.status.state === TaskState.RUNNING && task.desiredState === TaskState.RUNNING,
  );
  for (const task of done) {
    if (!isJob && task.spec.forceUpdate !== spec.task.forceUpdate) violations.push(bad(`${task.id} is of an old spec`));
    if (!isJob && !fitting.includes(task.nodeId)) violations.push(bad(`${task.id} is on a node that does not fit`));
  }
  const expected =
    spec.replicated || spec.replicatedJob
      ? slots(spec.replicatedJob?.totalCompletions ?? spec.replicated?.replicas ?? 0, spec.replicatedJob ? 0 : 1)
      : fitting.sort();
  const numbered = spec.replicated !== undefined || spec.replicatedJob !== undefined;
  const places = done.map((task) => (numbered ? String(task.slot).padStart(6, "0") : task.nodeId)).sort();
  // A job's task that was to stop may complete all the same, and its successor, too.
  const actual = isJob ? [...new Set(places)] : places;
  const counts = spec.replicated
    ? actual.length === expected.length && new Set(actual).size === actual.length
    : same(actual, expected);
  if (!counts) violations.push(bad(`done ${actual.join(" ")}, expected ${expected.join(" ")}`));
  const lingering = tasks.filter((task) => !isTerminal(task.status.state) && !done.includes(task));
  if (lingering.length > 0) violations.push(bad(`${lingering.map(describe).join("; ")} should have ended`));
  return violations;
}

function slots(count: number, from: number): string[] {
  return Array.from({ length: count }, (_, i) => String(i + from).padStart(6, "0"));
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

export function describe(task: Task): string {
  const { status, desiredState, slot, nodeId, serviceId } = task;
  const states = `${taskStateName(status.state)}→${taskStateName(desiredState)}`;
  return `${serviceId}.${slot} ${task.id.slice(0, 5)} on ${nodeId || "no node"} ${states}${status.err && ` (${status.err})`}`;
}
