import {
  GlobalJob,
  GlobalService,
  isJob,
  JobStatus,
  Meta,
  Node,
  NodeSpec,
  NodeSpec_Availability,
  NodeStatus,
  NodeStatus_State,
  ReplicatedJob,
  ReplicatedService,
  type RestartPolicy,
  Service,
  ServiceSpec,
  type Task,
  TaskSpec,
  TaskState,
  timestampOfMs,
  type UpdateConfig,
  UpdateConfig_UpdateOrder,
  withMoveLabel,
} from "@starling/api";
import { atOnce } from "@starling/base";
import fc from "fast-check";
import { expect } from "vitest";
import { newTask } from "./new-task.ts";
import type { Move, Plan } from "./plan.ts";
import { planService } from "./plan-service.ts";
import { hasEnded, isWanted, type SlotKey } from "./slot.ts";

const { PENDING, ASSIGNED, READY, RUNNING, COMPLETE, FAILED, SHUTDOWN, REMOVE } = TaskState;
const { START_FIRST } = UpdateConfig_UpdateOrder;
const { ACTIVE, DRAIN, PAUSE } = NodeSpec_Availability;
const { DOWN, READY: UP } = NodeStatus_State;

export const modes = ["replicated", "global", "replicated-job", "global-job"] as const;
const nodeCount = 4;

/** A service, its tasks and nodes, as values, for property tests; planService decides, this obeys, more or less. */
export class Model {
  service: Service;
  readonly tasks = new Map<string, Task>();
  readonly nodes: Node[] = Array.from({ length: nodeCount }, (_, i) => nodeOf(i, UP, ACTIVE));
  readonly #runningSince = new Map<string, number>();
  nowMs = 1_000_000;
  #made = 0;
  #version = 1;

  constructor(mode: (typeof modes)[number], replicas: number, update: UpdateConfig, restart?: RestartPolicy) {
    const job = mode.endsWith("job");
    const spec = {
      ...(mode === "replicated" && { replicated: ReplicatedService.create({ replicas }) }),
      ...(mode === "global" && { global: GlobalService.create() }),
      ...(mode === "replicated-job" && {
        replicatedJob: ReplicatedJob.create({ totalCompletions: replicas, maxConcurrent: 2 }),
      }),
      ...(mode === "global-job" && { globalJob: GlobalJob.create() }),
      ...(!job && { update }),
      task: TaskSpec.create({ restart }),
    };
    const jobStatus = job ? JobStatus.create() : undefined;
    this.service = Service.create({ id: "s", spec: ServiceSpec.create(spec), specVersion: { index: 1 }, jobStatus });
  }

  /** What the planner wants now. */
  plan(): Plan {
    const node = (id: string) => this.nodes.find((each) => each.id === id);
    const runningSinceMs = (id: string) => this.#runningSince.get(id);
    const observed = { nowMs: this.nowMs, node, runningSinceMs };
    return atOnce(planService(this.service, [...this.tasks.values()], this.nodes, observed))!;
  }

  /** One pass: what the planner wants, done at once. Returns when it wants to be asked again. */
  pass(): number | undefined {
    const plan = this.plan();
    if (plan.service) this.service = { ...this.service, updateStatus: plan.service.updateStatus };
    for (const { taskId, state } of plan.desire) {
      const task = this.tasks.get(taskId)!;
      expect(state, `desired state of ${taskId} goes back`).toBeGreaterThanOrEqual(task.desiredState);
      this.tasks.set(taskId, { ...task, desiredState: state });
    }
    for (const { slot, desiredState } of plan.create) this.#create(slot, desiredState);
    for (const move of plan.moves) this.#move(move);
    return plan.wakeAtMs;
  }

  #move(move: Move): void {
    const task = this.tasks.get(move.taskId)!;
    if (move.t === "stay") {
      this.tasks.set(task.id, withMoveLabel(task, undefined));
      return;
    }
    const desiredState = move.startFirst ? task.desiredState : SHUTDOWN;
    this.tasks.set(task.id, withMoveLabel({ ...task, desiredState }, "movedTo", move.nodeId));
    this.#create(move.slot, move.startFirst ? RUNNING : READY);
  }

  #create(slot: SlotKey, desiredState: TaskState): void {
    const id = `t${this.#made++}`;
    const task = newTask({ id, service: this.service, cluster: undefined, slot, desiredState, nowMs: this.nowMs });
    const meta = Meta.create({ version: { index: this.#made }, createdAt: timestampOfMs(this.nowMs) });
    this.tasks.set(id, { ...task, meta, status: { ...task.status, state: PENDING } });
  }

  /** As the scheduler marks a task; this one marks any. */
  wantElsewhere(task: Task, number: number): void {
    this.tasks.set(task.id, withMoveLabel(task, "moveTo", `n${number}`));
  }

  /** Scheduler and agents bring a task on by one step; those on nodes that are down do nothing. */
  work(task: Task): void {
    const node = this.nodes.find(({ id }) => id === task.nodeId);
    if (task.nodeId !== "" && node?.status.state === DOWN) return;
    const { state } = task.status;
    if (hasEnded(task)) {
      if (task.desiredState === REMOVE) this.tasks.delete(task.id);
    } else if (task.desiredState >= SHUTDOWN) this.#become(task, SHUTDOWN);
    else if (state === PENDING) this.#place(task);
    else if (state < READY) this.#become(task, READY);
    else if (state < RUNNING && task.desiredState >= RUNNING) this.#become(task, RUNNING);
    else if (state === RUNNING && task.desiredState === COMPLETE) this.#become(task, COMPLETE);
  }

  #place(task: Task): void {
    const fitting = this.nodes.filter(({ status, spec }) => status.state === UP && spec.availability === ACTIVE);
    const own = fitting.find(({ id }) => id === task.nodeId);
    const chosen = task.nodeId !== "" ? own : fitting[this.#made % fitting.length];
    if (chosen) this.#become({ ...task, nodeId: chosen.id }, ASSIGNED);
  }

  fail(task: Task): void {
    if (task.status.state === RUNNING) this.#become(task, FAILED);
  }

  #become(task: Task, state: TaskState): void {
    const at = timestampOfMs(this.nowMs);
    if (state === RUNNING) this.#runningSince.set(task.id, this.nowMs);
    this.tasks.set(task.id, { ...task, status: { ...task.status, state, timestamp: at, appliedAt: at } });
  }

  respecify(replicas: number): void {
    const { spec, jobStatus, specVersion } = this.service;
    const task = TaskSpec.create({ ...spec.task, forceUpdate: spec.task.forceUpdate + 1 });
    this.service = {
      ...this.service,
      spec: { ...spec, task, ...(spec.replicated && { replicated: ReplicatedService.create({ replicas }) }) },
      specVersion: { index: ++this.#version },
      previousSpec: spec,
      previousSpecVersion: specVersion,
      updateStatus: undefined,
      jobStatus: jobStatus && { ...jobStatus, jobIteration: { index: jobStatus.jobIteration.index + 1 } },
    };
  }

  setNode(number: number, state: NodeStatus_State, availability: NodeSpec_Availability): void {
    this.nodes[number] = nodeOf(number, state, availability);
  }

  /** Running tasks by slot, on nodes that are up; a former iteration of a job is another matter. */
  slots(): Map<string, Task[]> {
    const slots = new Map<string, Task[]>();
    const { spec, jobStatus } = this.service;
    const numbered = spec.replicated !== undefined || spec.replicatedJob !== undefined;
    for (const task of this.tasks.values()) {
      const lost = this.nodes.some(({ id, status }) => id === task.nodeId && status.state === DOWN);
      if (task.status.state !== RUNNING || lost || task.jobIteration?.index !== jobStatus?.jobIteration.index) continue;
      const key = numbered ? String(task.slot) : task.nodeId;
      slots.set(key, [...(slots.get(key) ?? []), task]);
    }
    return slots;
  }
}

function nodeOf(number: number, state: NodeStatus_State, availability: NodeSpec_Availability): Node {
  const status = NodeStatus.create({ state });
  return Node.create({ id: `n${number}`, spec: NodeSpec.create({ availability }), status });
}

export const happening = fc.oneof(
  { weight: 6, arbitrary: fc.record({ t: fc.constant("work" as const), which: fc.nat(30) }) },
  { weight: 2, arbitrary: fc.record({ t: fc.constant("fail" as const), which: fc.nat(30) }) },
  {
    weight: 1,
    arbitrary: fc.record({ t: fc.constant("move" as const), which: fc.nat(30), number: fc.nat(nodeCount - 1) }),
  },
  { weight: 2, arbitrary: fc.record({ t: fc.constant("time" as const), ms: fc.nat(10_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      t: fc.constant("node" as const),
      number: fc.nat(nodeCount - 1),
      state: fc.constantFrom(UP, UP, DOWN),
      availability: fc.constantFrom(ACTIVE, ACTIVE, DRAIN, PAUSE),
    }),
  },
  { weight: 1, arbitrary: fc.record({ t: fc.constant("spec" as const), replicas: fc.nat(6) }) },
);

/** Does what happens. */
export function play(model: Model, each: typeof happening extends fc.Arbitrary<infer H> ? H : never): void {
  const tasks = [...model.tasks.values()];
  const at = (which: number) => tasks[which % Math.max(1, tasks.length)];
  switch (each.t) {
    case "work": {
      const task = at(each.which);
      if (task) model.work(task);
      return;
    }
    case "fail": {
      const task = at(each.which);
      if (task) model.fail(task);
      return;
    }
    case "move": {
      const task = at(each.which);
      if (task) model.wantElsewhere(task, each.number);
      return;
    }
    case "time":
      model.nowMs += each.ms;
      // Stops take less than the minute for which a successor waits.
      for (const task of tasks) if (task.desiredState >= SHUTDOWN) model.work(task);
      return;
    case "node":
      model.setNode(each.number, each.state, each.availability);
      // What a lost node ran is gone with it.
      if (each.state === DOWN) for (const task of tasks) if (task.nodeId === `n${each.number}`) model.fail(task);
      return;
    case "spec":
      model.respecify(each.replicas);
  }
}

/** No slot runs more often than the update's order allows. */
export function checkSlots(model: Model, order: UpdateConfig_UpdateOrder): void {
  for (const [slot, running] of model.slots()) {
    const specs = new Set(running.map(({ specVersion }) => specVersion?.index));
    const most = order === START_FIRST ? specs.size : 1;
    expect(running.length, `slot ${slot}: ${running.map(({ id }) => id)}`).toBeLessThanOrEqual(most);
  }
}

/** Nothing strikes any more: all nodes are well, tasks do what they are told, time goes on. `afterEach` is called each round. */
export function settle(model: Model, order: UpdateConfig_UpdateOrder, afterEach = () => {}): void {
  for (let i = 0; i < nodeCount; i++) model.setNode(i, UP, ACTIVE);
  for (let round = 0; round < 300; round++) {
    const wakeAtMs = model.pass();
    for (const task of [...model.tasks.values()]) model.work(task);
    checkSlots(model, order);
    afterEach();
    model.nowMs = Math.max(model.nowMs + 100, Math.min(wakeAtMs ?? 0, model.nowMs + 5_000));
  }
}

/** Tasks are what the spec says. */
export function checkRest(model: Model): void {
  const { spec, specVersion } = model.service;
  if (isJob(spec)) {
    const done = [...model.tasks.values()].filter(({ status }) => status.state === COMPLETE);
    const places = new Set(done.map((task) => (spec.replicatedJob ? task.slot : task.nodeId)));
    expect(places.size).toBe(spec.replicatedJob?.totalCompletions ?? nodeCount);
    expect(done.every(({ desiredState }) => desiredState === COMPLETE)).toBe(true);
  } else {
    const live = [...model.tasks.values()].filter((task) => isWanted(task) || !hasEnded(task));
    expect(live.length).toBe(spec.replicated?.replicas ?? nodeCount);
    expect(live.every(({ status }) => status.state === RUNNING)).toBe(true);
    expect(live.every((task) => task.spec.forceUpdate === spec.task.forceUpdate)).toBe(true);
    expect(live.every((task) => (task.specVersion?.index ?? 0) <= specVersion!.index)).toBe(true);
  }
}
