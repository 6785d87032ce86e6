import {
  moveLabelOf,
  type PlacementStrategy,
  placementStrategy,
  type Task,
  timestampMs,
  timestampOfMs,
} from "@starling/api";
import { type Clock, type Logger, type Metrics, Pacer, metrics as processMetrics, SwarmError } from "@starling/base";
import { all, byKind, type EventOf, type MemoryStore, type ReadTx } from "@starling/store";
import { applyEvent, ClusterView } from "./cluster-view.ts";
import { applyDecision, CHOSEN, CONFIRMED, type Decision, type Outcome } from "./decision.ts";
import { Inbox } from "./inbox.ts";
import { Pipeline } from "./pipeline.ts";
import { placeGroup } from "./place.ts";
import { Rebalancer } from "./rebalance/rebalancer.ts";
import { homelessIds, volumeHomeKind } from "./volume-home.ts";

export interface SchedulerOptions {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: Metrics;
}

/** Changes per transaction, as in the store's own batches. */
const DECISIONS_PER_TRANSACTION = 200;
/** Numbers in a reason are told anew no sooner than that. */
const RECOUNT_MS = 10_000;
/** Wait after a transaction was refused, before the pass is tried again. */
const RETRY_MS = 100;

/**
 * The leader's loop that gives PENDING tasks a node. A pass starts one turn of the event loop after the first event
 * that calls for it; tasks that find no node say why and are tried again when a node or a task changes.
 */
export function createScheduler(options: SchedulerOptions): { run(signal: AbortSignal): Promise<void> } {
  return { run: (signal) => new Scheduler(options).run(signal) };
}

/** A group of which tasks were left over. */
interface Stuck {
  /** Why, by the pass that left them. */
  readonly explanation: string;
  readonly left: readonly Task[];
  /** What all of them say; undefined when some say other numbers. */
  readonly err: string | undefined;
  /** The same, without numbers. */
  readonly kind: string;
  /** When the first of them was told so. */
  readonly toldAt: number;
}

type SchedulerEvent = EventOf<"task" | "node" | "resource" | "service" | "cluster">;

class Scheduler {
  readonly #store: MemoryStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #passSeconds;
  readonly #waitingTasks;
  readonly #view = new ClusterView();
  readonly #rebalancer: Rebalancer;
  readonly #pacer: Pacer;
  /** Groups of which the last pass left tasks over, by key. */
  #stuck: Map<string, Stuck> = new Map();

  constructor({ store, clock, log, metrics = processMetrics }: SchedulerOptions) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#pacer = new Pacer(clock);
    this.#rebalancer = new Rebalancer({ store, clock, log, metrics, view: this.#view });
    this.#passSeconds = metrics.histogram("swarm_scheduler_pass_seconds", "Time of a scheduling pass with its commits");
    this.#waitingTasks = metrics.gauge("swarm_scheduler_waiting_tasks", "Tasks without a node after the last pass");
  }

  async run(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    const inbox = await this.#follow(either);
    const loops = [this.#schedule(inbox, either), this.#rebalancer.run(either)];
    await Promise.all(loops.map((loop) => loop.finally(() => stop.abort())));
  }

  async #schedule(inbox: Inbox<SchedulerEvent>, signal: AbortSignal): Promise<void> {
    await this.#forgetHomes(signal);
    for (let due = true; !signal.aborted; ) {
      if (due) due = await this.#pass(signal);
      if (!due) await inbox.arrival();
      await this.#pacer.turn();
      let removed = false;
      for (const event of inbox.take()) {
        if (event.kind === "service") removed ||= event.action === "remove";
        else if (event.kind !== "cluster") due = applyEvent(this.#view, event, this.#clock.now()) || due;
        if (event.kind !== "resource") this.#rebalancer.note(event);
        if (this.#pacer.due) await this.#pacer.turn();
      }
      if (removed) await this.#forgetHomes(signal);
    }
  }

  /** Removes what is known of the volumes of services that are gone. A refusal leaves it to the next time. */
  async #forgetHomes(signal: AbortSignal): Promise<void> {
    const gone = (tx: ReadTx) =>
      homelessIds(tx, tx.resources.find(byKind(volumeHomeKind))).slice(0, DECISIONS_PER_TRANSACTION);
    try {
      while (!signal.aborted && this.#store.view(gone).length > 0) {
        await this.#store.update((tx) => {
          for (const id of gone(tx)) tx.resources.delete(id);
        });
      }
    } catch (error) {
      const { message } = SwarmError.from(error);
      if (!signal.aborted) this.#log.warn("homes of volumes not removed", { error: message });
    }
  }

  /** Learns what there is; resolves with what is committed after that. */
  async #follow(signal: AbortSignal) {
    const kinds = ["task", "node", "resource", "service", "cluster"] as const;
    const { value: tx, events } = this.#store.viewAndWatch((tx) => tx, { kinds, signal });
    const inbox = new Inbox(events);
    await this.#load(tx);
    return inbox;
  }

  async #load(tx: ReadTx): Promise<void> {
    for (const home of tx.resources.find(byKind(volumeHomeKind))) this.#view.homes.set(home);
    for (const node of tx.nodes.each()) {
      this.#view.setNode(node);
      if (this.#pacer.due) await this.#pacer.turn();
      this.#rebalancer.noteNode(node, node.id);
    }
    for (const task of tx.tasks.each()) {
      this.#view.setTask(task, this.#clock.now());
      if (this.#pacer.due) await this.#pacer.turn();
    }
  }

  /** Decides on everything that waits and writes it; true when it must be repeated. */
  async #pass(signal: AbortSignal): Promise<boolean> {
    const { waiting, preassigned, unwanted } = this.#view;
    if (waiting.size + preassigned.size + unwanted.size === 0) return false;
    const startedAt = this.#clock.monotonic();
    let chunk: Decision[] = [];
    const commits: Promise<boolean>[] = [];
    for await (const decision of this.#decide()) {
      if (signal.aborted) break;
      chunk.push(decision);
      if (chunk.length < DECISIONS_PER_TRANSACTION) continue;
      commits.push(this.#commit(chunk, signal));
      chunk = [];
    }
    if (chunk.length > 0) commits.push(this.#commit(chunk, signal));
    const results = await orAbort(Promise.all(commits), signal);
    const refused = results?.includes(false) ?? false;
    if (refused && !signal.aborted) await this.#clock.sleep(RETRY_MS, signal).catch(() => {}); // Ends by the signal.
    this.#passSeconds.observe((this.#clock.monotonic() - startedAt) / 1000);
    this.#waitingTasks.set(waiting.size + preassigned.size);
    return refused;
  }

  /** Preassigned tasks first, so that chosen ones do not take their room; then group by group. */
  async *#decide(): AsyncGenerator<Decision> {
    for (const task of [...this.#view.unwanted.values()]) yield { t: "end", task };
    for (const task of [...this.#view.preassigned.values()]) {
      const decision = this.#decidePreassigned(task);
      if (decision !== undefined) yield decision;
      if (this.#pacer.due) await this.#pacer.turn();
    }
    if (this.#view.waiting.size === 0) return;
    for (const group of this.#view.waiting.groups()) {
      if (this.#pacer.due) await this.#pacer.turn();
      if (!this.#view.homes.concern(group.model)) continue;
      for (const task of group.tasks) {
        const home = this.#view.homes.of(task);
        const decision = home && this.#decideAtHome(task, home);
        if (decision !== undefined) yield decision;
        if (this.#pacer.due) await this.#pacer.turn();
      }
    }
    for (const task of [...this.#view.waiting.wishing.values()]) {
      const decision = this.#decideMoved(task);
      if (decision !== undefined) yield decision;
      if (this.#pacer.due) await this.#pacer.turn();
    }
    const freed = this.#view.nodes.takeFreed();
    const stuckBefore = this.#stuck;
    this.#stuck = new Map();
    for (const { key, model, tasks } of this.#view.waiting.groups()) {
      const before = stuckBefore.get(key);
      const last = before && { explanation: before.explanation, freed };
      const group = this.#homeless(tasks);
      const strategy = this.#strategyOf(model);
      const placing = placeGroup(group, this.#view.nodes, { now: this.#clock.now(), strategy, last });
      let step = placing.next();
      for (; !step.done; step = placing.next()) {
        if (step.value !== undefined) {
          const { task, info } = step.value;
          this.#view.book(task);
          yield { t: "assign", task, nodeVersion: info.node!.meta.version.index, message: CHOSEN };
        }
        if (this.#pacer.due) await this.#pacer.turn();
      }
      const { tasks: left, explanation } = step.value;
      if (left.length > 0) this.#stuck.set(key, yield* this.#explain(left, explanation, before));
      if (this.#pacer.due) await this.#pacer.turn();
    }
  }

  /** Tells tasks that are left over why, unless all of them have been told. */
  async *#explain(
    left: readonly Task[],
    explanation: string,
    before: Stuck | undefined,
  ): AsyncGenerator<Decision, Stuck> {
    const err = explanation === "" ? "no suitable node" : `no suitable node (${explanation})`;
    const kind = uncounted(err);
    const now = this.#clock.now();
    const recent = before?.kind === kind && now - before.toldAt < RECOUNT_MS;
    if (before?.left === left && (before.err === err || recent)) return { ...before, explanation };
    let toldAt = now;
    let same = true;
    for (const task of left) {
      if (this.#mayExplain(task, err, kind)) yield { t: "explain", task, err };
      same &&= task.status.err === err;
      toldAt = Math.min(toldAt, toldMs(task));
      if (this.#pacer.due) await this.#pacer.turn();
    }
    return { explanation, left, err: same ? err : undefined, kind, toldAt };
  }

  /** Those of a group that may run anywhere. */
  #homeless(tasks: readonly Task[]): readonly Task[] {
    const { homes } = this.#view;
    return homes.concern(tasks[0]) ? tasks.filter((task) => homes.of(task) === undefined) : tasks;
  }

  /** By what service and cluster say now. */
  #strategyOf({ serviceId }: Task): PlacementStrategy {
    return this.#store.view((tx) => {
      const service = tx.services.get(serviceId)?.spec.annotations.labels ?? {};
      return placementStrategy(service, tx.clusters.find(all)[0]?.spec.annotations.labels ?? {});
    });
  }

  #decidePreassigned(task: Task): Decision | undefined {
    const info = this.#view.nodes.get(task.nodeId);
    if (info?.node === undefined) {
      const err = "no suitable node (its node is not in the cluster)";
      return this.#mayExplain(task, err) ? { t: "explain", task, err } : undefined;
    }
    const pipeline = new Pipeline(task);
    if (!pipeline.fits(info)) {
      const err = pipeline.explain([info]);
      return task.status.err === err ? undefined : { t: "explain", task, err };
    }
    const booked = { ...task, assignedGenericResources: info.selectGeneric(task) };
    this.#view.book(booked);
    return { t: "assign", task: booked, nodeVersion: info.node.meta.version.index, message: CONFIRMED };
  }

  /** Where the volumes of the task's slot are, or nowhere. */
  #decideAtHome(
    task: Task,
    { nodeId, volume }: { readonly nodeId: string; readonly volume: string },
  ): Decision | undefined {
    const info = this.#view.nodes.get(nodeId);
    const pipeline = new Pipeline(task);
    if (info?.node !== undefined && pipeline.fits(info)) {
      const booked = { ...task, nodeId, assignedGenericResources: info.selectGeneric(task) };
      this.#view.book(booked);
      return { t: "assign", task: booked, nodeVersion: info.node.meta.version.index, message: CHOSEN };
    }
    const where = info?.node?.description?.hostname || nodeId;
    const why = info?.node === undefined ? "which is not in the swarm any more" : pipeline.explain([info]);
    const err = `no suitable node (volume "${volume}" is on node ${where}: ${why})`;
    return this.#mayExplain(task, err) ? { t: "explain", task, err } : undefined;
  }

  /** On the node that a task was moved for, if it fits there now; else it is placed as any. */
  #decideMoved(task: Task): Decision | undefined {
    const wish = moveLabelOf(task, "wish");
    const info = wish === undefined ? undefined : this.#view.nodes.get(wish);
    if (info?.node === undefined || this.#view.homes.of(task) !== undefined || !new Pipeline(task).fits(info))
      return undefined;
    const booked = { ...task, nodeId: info.id, assignedGenericResources: info.selectGeneric(task) };
    this.#view.book(booked);
    return { t: "assign", task: booked, nodeVersion: info.node.meta.version.index, message: CHOSEN };
  }

  /**
   * Tasks of a removed service are left to the orchestrator, which removes them. That other numbers of nodes have the same
   * reasons is written now and then only: each change of a node would write all tasks that wait.
   */
  #mayExplain(task: Task, err: string, kind = uncounted(err)): boolean {
    const { status, serviceId } = task;
    if (status.err === err) return false;
    if (this.#clock.now() - toldMs(task) < RECOUNT_MS && uncounted(status.err) === kind) return false;
    return serviceId === "" || this.#store.view((tx) => tx.services.get(serviceId)) !== undefined;
  }

  /** Writes decisions in one transaction; false when it was refused as a whole, and all are taken back. */
  async #commit(decisions: readonly Decision[], signal: AbortSignal): Promise<boolean> {
    const timestamp = timestampOfMs(this.#clock.now());
    try {
      const outcomes = await this.#store.update((tx) =>
        decisions.map((decision) => applyDecision(tx, decision, timestamp)),
      );
      for (const [at, outcome] of outcomes.entries()) this.#settle(decisions[at]!, outcome);
      return true;
    } catch (error) {
      for (const { task } of decisions) this.#view.release(task.id);
      const { message } = SwarmError.from(error);
      if (!signal.aborted) this.#log.warn("scheduling decisions not committed", { error: message });
      return false;
    }
  }

  #settle({ task }: Decision, outcome: Outcome): void {
    switch (outcome.t) {
      case "written":
        this.#view.homes.placed(outcome.task);
        this.#view.setTask(outcome.task, this.#clock.now());
        return;
      case "gone":
        this.#view.removeTask(task.id);
        return;
      case "outdated":
        this.#view.release(task.id);
        return;
    }
  }
}

/** When the task's state was told; 0 when that is not known. */
function toldMs({ status }: Task): number {
  return status.timestamp === undefined ? 0 : timestampMs(status.timestamp);
}

/** A reason without its numbers of nodes. */
function uncounted(reason: string): string {
  return reason.replaceAll(/\d+ nodes?/g, "nodes");
}

/** What the promise gives; undefined when the signal aborts first. The promise must not reject. */
function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve) => {
    const onAbort = () => resolve(undefined);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    void promise.then((value) => {
      signal.removeEventListener("abort", onAbort);
      resolve(value);
    });
  });
}
