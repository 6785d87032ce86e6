import {
  type Cluster,
  mayRebalance,
  moveLabelOf,
  type Node,
  NodeStatus_State,
  placementStrategy,
  placementStrategyLabel,
  type RebalancePolicy,
  rebalanceLabels,
  rebalancePolicy,
  type Service,
  type Task,
  TaskState,
  withMoveLabel,
} from "@starling/api";
import {
  type Clock,
  type Counter,
  inSteps,
  LargeMap,
  type Logger,
  type Metrics,
  type Millis,
  Pacer,
  SwarmError,
} from "@starling/base";
import { all, byService, type EventOf, type MemoryStore } from "@starling/store";
import type { ClusterView } from "../cluster-view.ts";
import { HoldOffs } from "./hold-offs.ts";
import { judge, type Verdict } from "./judge.ts";

export type RebalanceEvent = EventOf<"cluster" | "service" | "node" | "task">;

/** Services are looked at no more often, however much happens. */
const ROUND_MS = 1_000;

/**
 * Has running tasks moved to nodes that came or came back, one by one, for services that are to be rebalanced. It only marks a
 * task, and the orchestrator replaces it; what is under way is read off the store, so a new leader goes on. Without such
 * services it does nothing. Times are of the monotonic clock.
 */
export class Rebalancer {
  readonly #store: MemoryStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #view: ClusterView;
  readonly #pacer: Pacer;
  readonly #moved: Counter;
  readonly #holdOffs = new HoldOffs();
  /** Services to be rebalanced. */
  readonly #services = new Set<string>();
  /** Services to look at, and when; those that had a move are last. */
  readonly #due = new Map<string, Millis>();
  /** Services that are uneven, and no node takes a task of theirs. */
  readonly #stuck = new Set<string>();
  /** Nodes that are ready, and since when. */
  readonly #readySince = new LargeMap<Millis>();
  #policy: RebalancePolicy = rebalancePolicy({});
  /** The cluster's labels that matter, and whether services are to be judged by them anew. */
  #clusterLabels: Readonly<Record<string, string>> = {};
  #relearns = true;
  #allDue = false;
  #freed = false;
  #notBefore: Millis;
  #sleepsUntil: Millis = Number.NEGATIVE_INFINITY;
  #wake: () => void = () => undefined;

  constructor(options: {
    readonly store: MemoryStore;
    readonly clock: Clock;
    readonly log: Logger;
    readonly metrics: Metrics;
    /** Kept by the scheduler. */
    readonly view: ClusterView;
  }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#view = options.view;
    this.#pacer = new Pacer(options.clock);
    this.#moved = options.metrics.counter("swarm_scheduler_rebalanced_tasks_total", "Running tasks that had to move");
    this.#notBefore = options.clock.monotonic();
  }

  /** Takes what is committed; `view` shows it already. */
  note(event: RebalanceEvent): void {
    switch (event.kind) {
      case "cluster":
        this.#noteCluster(event.object);
        return;
      case "service":
        this.#learn(event.object.id, event.action === "remove" ? undefined : event.object);
        return;
      case "node":
        this.noteNode(event.action === "remove" ? undefined : event.object, event.object.id);
        return;
      case "task":
        this.#noteTask(event.action, event.object, event.action === "update" ? event.old : undefined);
    }
  }

  /** Takes a node's state, undefined when it is gone. */
  noteNode(node: Node | undefined, id: string): void {
    if (node?.status.state !== NodeStatus_State.READY) this.#readySince.delete(id);
    else if (!this.#readySince.has(id)) this.#readySince.set(id, this.#clock.monotonic());
    if (this.#services.size === 0) return;
    this.#allDue = true;
    this.#alarm(0);
  }

  /** Ends when the signal aborts. Which nodes there are it has been told. */
  async run(signal: AbortSignal): Promise<void> {
    const tx = this.#store.view((tx) => tx);
    for (const cluster of tx.clusters.find(all)) this.#noteCluster(cluster);
    // A change of leader must not make moves come faster.
    this.#notBefore = this.#clock.monotonic() + this.#intervalMs;
    signal.addEventListener("abort", () => this.#wake(), { once: true });
    for (;;) {
      await this.#nextRound(signal);
      if (signal.aborted) return;
      if (this.#relearns) await this.#relearn();
      else await this.#round(signal);
    }
  }

  get #intervalMs(): Millis {
    return 60_000 / this.#policy.perMinute;
  }

  #noteCluster({ spec }: Cluster): void {
    const { labels } = spec.annotations;
    const keys = [...Object.values(rebalanceLabels), placementStrategyLabel];
    const same = keys.every((key) => labels[key] === this.#clusterLabels[key]);
    this.#clusterLabels = labels;
    if (same) return;
    this.#policy = rebalancePolicy(labels);
    this.#relearns = true;
    this.#wake();
  }

  #noteTask(action: "create" | "update" | "remove", task: Task, old: Task | undefined): void {
    if (this.#stuck.size > 0 && (action === "remove" || task.desiredState > TaskState.RUNNING)) {
      this.#freed = true;
      this.#alarm(0);
    }
    if (!this.#services.has(task.serviceId)) return;
    this.#mark(task.serviceId, 0);
    const wish = moveLabelOf(task, "wish");
    if (wish === undefined || action === "remove") return;
    const { state } = task.status;
    const ran = old !== undefined && old.status.state >= TaskState.RUNNING;
    const broke = state === TaskState.COMPLETE || state === TaskState.FAILED || state === TaskState.REJECTED;
    const elsewhere = old?.nodeId === "" && task.nodeId !== "" && task.nodeId !== wish;
    if (elsewhere || (broke && !ran)) this.#holdOffs.failed(task, wish, this.#clock.monotonic());
    else if (state === TaskState.RUNNING) this.#holdOffs.succeeded(task, wish);
  }

  /** Whether the service is to be rebalanced. */
  #learn(id: string, service: Service | undefined): void {
    const labels = service?.spec.annotations.labels ?? {};
    const takesPart =
      service?.spec.replicated !== undefined &&
      mayRebalance(labels, this.#policy) &&
      placementStrategy(labels, this.#clusterLabels) === "spread";
    if (takesPart) {
      this.#services.add(id);
      this.#mark(id, 0);
      return;
    }
    this.#services.delete(id);
    this.#due.delete(id);
    this.#stuck.delete(id);
    this.#holdOffs.forget(id);
  }

  /** All services anew, by what the cluster says now. */
  async #relearn(): Promise<void> {
    this.#relearns = false;
    const ids = this.#store.view((tx) => tx.services.each());
    await this.#pacer.run(
      inSteps(ids, ({ id }) =>
        this.#learn(
          id,
          this.#store.view((tx) => tx.services.get(id)),
        ),
      ),
    );
  }

  #mark(serviceId: string, at: Millis): void {
    const known = this.#due.get(serviceId);
    if (known !== undefined && known <= at) return;
    this.#due.set(serviceId, at);
    this.#alarm(at);
  }

  /** There is something to do from `at` on. */
  #alarm(at: Millis): void {
    if (Math.max(at, this.#notBefore) < this.#sleepsUntil) this.#wake();
  }

  /** Resolves when services are due and may be looked at, or the signal aborts. */
  async #nextRound(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.#relearns) {
      let next = this.#allDue || this.#freed ? 0 : Number.POSITIVE_INFINITY;
      for (const at of this.#due.values()) next = Math.min(next, at);
      const until = Math.max(next, this.#notBefore);
      const now = this.#clock.monotonic();
      if (until <= now) return;
      await new Promise<void>((resolve) => {
        const timer = Number.isFinite(until) ? this.#clock.setTimer(until - now, resolve) : undefined;
        this.#sleepsUntil = until;
        this.#wake = () => {
          timer?.cancel();
          resolve();
        };
      });
      this.#sleepsUntil = Number.NEGATIVE_INFINITY;
    }
  }

  /** Looks at what is due, until one task is to be moved. */
  async #round(signal: AbortSignal): Promise<void> {
    const now = this.#clock.monotonic();
    this.#notBefore = now + Math.min(ROUND_MS, this.#intervalMs);
    if (this.#allDue) for (const id of this.#services) this.#mark(id, 0);
    if (this.#freed) for (const id of this.#stuck) this.#mark(id, 0);
    this.#allDue = this.#freed = false;
    const ids = [...this.#due].filter(([, at]) => at <= now).map(([id]) => id);
    for (const id of ids) {
      if (signal.aborted) return;
      // What happens during the look makes it due again.
      this.#due.delete(id);
      this.#stuck.delete(id);
      const service = this.#store.view((tx) => tx.services.get(id));
      if (service === undefined || !this.#services.has(id)) continue;
      const verdict = await this.#judge(service);
      if (verdict.t === "later") this.#mark(id, this.#clock.monotonic() + verdict.inMs);
      else if (verdict.t === "wait") {
        if (verdict.uneven) this.#stuck.add(id);
      } else {
        this.#mark(id, 0);
        if (!(await this.#move(service, verdict, signal))) continue;
        this.#notBefore = this.#clock.monotonic() + this.#intervalMs;
        return;
      }
      if (this.#pacer.due) await this.#pacer.turn();
    }
  }

  async #judge(service: Service): Promise<Verdict> {
    const now = this.#clock.monotonic();
    const tx = this.#store.view((tx) => tx);
    const { settleMs } = this.#policy;
    const settlesInMs = (nodeId: string) =>
      Math.max((this.#readySince.get(nodeId) ?? now) + settleMs, this.#holdOffs.until(service, nodeId)) - now;
    const { value } = await this.#pacer.run(
      judge(service, {
        nodes: this.#view.nodes,
        tasks: () => tx.tasks.each(byService(service.id)),
        isBound: (task) => this.#view.homes.of(task) !== undefined,
        settlesInMs,
        settleMs,
        now: this.#clock.now(),
      }),
    );
    return value;
  }

  /** Marks the task, unless it or its service has changed; whether it did. */
  async #move(service: Service, { task, to }: Verdict & { t: "move" }, signal: AbortSignal): Promise<boolean> {
    try {
      const marked = await this.#store.update((tx) => {
        const present = tx.tasks.get(task.id);
        const unchanged = tx.services.get(service.id)?.meta.version.index === service.meta.version.index;
        if (!unchanged || present?.meta.version.index !== task.meta.version.index || !tx.nodes.get(to.id)) return false;
        tx.tasks.update(withMoveLabel(present, "moveTo", to.id));
        return true;
      });
      if (!marked) return false;
      this.#moved.inc();
      const where = { "task.id": task.id, "service.id": service.id, "node.id": to.id, from: task.nodeId };
      this.#log.info("rebalancing: a task is to move", where);
      return true;
    } catch (error) {
      const { message } = SwarmError.from(error);
      if (!signal.aborted) this.#log.warn("move not committed", { "service.id": service.id, error: message });
      return false;
    }
  }
}
