import {
  hasStopped,
  moveLabelOf,
  type Node,
  type Service,
  type Task,
  TaskState,
  type UpdateStatus_UpdateState,
} from "@starling/api";
import {
  type Clock,
  inSteps,
  LargeMap,
  type Logger,
  newId,
  Pacer,
  type Steps,
  SwarmError,
  type Timer,
  type Watcher,
} from "@starling/base";
import { all, byNode, byService, bySlot, type MemoryStore, type ReadTx, type StoreEvent } from "@starling/store";
import { applyPlan, removeTasks } from "./apply-plan.ts";
import { Passes } from "./passes.ts";
import type { Plan } from "./plan.ts";
import { planService } from "./plan-service.ts";
import { isLostNode, isWanted, stampMs } from "./slot.ts";
import { isUpdating } from "./update/plan.ts";

/**
 * Keeps services and jobs at what their specs ask for: replicas, completions, restarts, updates. One pass a service: plan
 * on a snapshot, apply, wait for the next event or time. Several events of one turn make one pass.
 */
export function createServiceLoop(options: {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
  readonly newId?: () => string;
}): { run(signal: AbortSignal): Promise<void> } {
  return { run: (signal) => new ServiceLoop(options).run(signal) };
}

/**
 * A pass that took long is not repeated before so many times its length have gone by, and those of others that took long: events
 * come one by one, and passes must not take up the leader's thread, be it for one very large service or for many large ones.
 */
const pauseFactor = 3;
/** What a pass takes for each task at least: how long it took is no more than a guess when it is short. */
const msPerTask = 0.004;
/** Shorter passes are repeated as often as they are asked for. */
const longPassMs = 0.4;

/** Global services and jobs change with the nodes. */
function isOnEveryNode({ spec }: Service): boolean {
  return spec.global !== undefined || spec.globalJob !== undefined;
}

class ServiceLoop {
  readonly #store: MemoryStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #newId: () => string;
  /** Services to look at in the next pass. */
  readonly #due = new Set<string>();
  readonly #timers = new Map<string, Timer>();
  /** Services whose last pass took long, and when the next one may be. */
  readonly #pausedUntil = new Map<string, number>();
  /** When the pauses of all passes so far are over, one after the other. */
  #pausesEndAt = 0;
  readonly #pacer: Pacer;
  /** When a task came to run, as managers took it, where its status says something later by now. */
  readonly #runningSince = new LargeMap<number>();
  #wake: () => void = () => undefined;

  constructor(options: Parameters<typeof createServiceLoop>[0]) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#log = options.log.with({ station: "orchestrator" });
    this.#newId = options.newId ?? newId;
    this.#pacer = new Pacer(options.clock);
  }

  async run(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const either = AbortSignal.any([signal, stop.signal]);
    either.addEventListener("abort", () => this.#wake());
    const passes = new Passes({
      // One that fails ends the loop, which then throws its error.
      pass: async (serviceId) => {
        try {
          await this.#paced(serviceId);
        } catch (error) {
          stop.abort();
          throw error;
        }
      },
      repeat: (serviceId) => this.#mark(serviceId),
    });
    const events = await this.#follow(either);
    const reading = this.#read(events).finally(() => stop.abort());
    try {
      while (!either.aborted) {
        if (this.#due.size === 0) await this.#idle(either);
        // The rest of this turn's events join the pass.
        await this.#pacer.turn();
        const due = [...this.#due];
        this.#due.clear();
        for (const serviceId of due) {
          if (either.aborted) break;
          await passes.begin(serviceId);
          if (this.#pacer.due) await this.#pacer.turn();
        }
      }
      await passes.ended();
    } finally {
      stop.abort();
      for (const timer of this.#timers.values()) timer.cancel();
    }
    await reading;
  }

  /** Learns what there is; resolves with what is committed after that. */
  async #follow(signal: AbortSignal) {
    const kinds = ["service", "task", "node"] as const;
    const { value: tx, events } = this.#store.viewAndWatch((tx) => tx, { kinds, signal });
    for (const service of tx.services.find(all)) this.#due.add(service.id);
    const learn = inSteps(tx.tasks.each(), (task) => {
      if (task.serviceId !== "") this.#due.add(task.serviceId);
    });
    await this.#pacer.run(learn);
    return events;
  }

  /** A node that is lost, or comes back, concerns all its tasks; and many may be at once. */
  async #read(events: Watcher<StoreEvent>): Promise<void> {
    const pacer = new Pacer(this.#clock);
    for await (const batch of events.batches()) {
      pacer.begin();
      for (const event of batch) {
        this.#note(event);
        if (pacer.due) await pacer.turn();
      }
    }
  }

  #idle(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (signal.aborted || this.#due.size > 0) resolve();
    });
  }

  #mark(serviceId: string): void {
    this.#due.add(serviceId);
    this.#wake();
  }

  /** Marks the services that an event may change the plan of; most task events change nothing. */
  #note(event: StoreEvent): void {
    switch (event.kind) {
      case "service":
        this.#mark(event.object.id);
        break;
      case "node":
        this.#noteNode(event.object, event.action === "update" ? event.old : undefined);
        break;
      case "task":
        this.#noteTask(event.action, event.object, event.old);
    }
  }

  #noteNode(node: Node, old: Node | undefined): void {
    const same = old?.status.state === node.status.state && old.spec === node.spec;
    if (same) return;
    const onEveryNode = this.#store.view((tx) => tx.services.find(all).filter(isOnEveryNode));
    for (const { id } of onEveryNode) this.#mark(id);
    // Replicas only ask whether their node is lost or drained, and whether it still fits.
    const asBefore = old?.spec === node.spec && isLostNode(old) === isLostNode(node);
    if (asBefore) return;
    for (const { serviceId } of this.#store.view((tx) => tx.tasks.find(byNode(node.id)))) this.#mark(serviceId);
  }

  #noteTask(action: "create" | "update" | "remove", task: Task, old: Task | undefined): void {
    if (action === "remove") this.#runningSince.delete(task.id);
    else if (old?.status.state === TaskState.RUNNING && old.status !== task.status) this.#noteRunning(old);
    if (task.serviceId === "") return;
    const moves = old?.status.state !== task.status.state;
    const matters =
      action !== "update" ||
      old === undefined ||
      old.desiredState !== task.desiredState ||
      hasStopped(old) !== hasStopped(task) ||
      moveLabelOf(old, "moveTo") !== moveLabelOf(task, "moveTo") ||
      (moves && task.status.state > TaskState.RUNNING) ||
      (moves && task.status.state === TaskState.RUNNING && this.#isAwaited(task));
    if (matters) this.#mark(task.serviceId);
  }

  /** Somebody waits for the task to run: an update, or a task beside it in its slot. */
  #isAwaited({ id, serviceId, slot, nodeId }: Task): boolean {
    return this.#store.view((tx) => {
      if (isUpdating(tx.services.get(serviceId))) return true;
      const beside = slot > 0 ? tx.tasks.find(bySlot(serviceId, slot)) : tx.tasks.find(byNode(nodeId));
      return beside.some((other) => other.id !== id && other.serviceId === serviceId && isWanted(other));
    });
  }

  #noteRunning({ id, status }: Task): void {
    if (!this.#runningSince.has(id)) this.#runningSince.set(id, stampMs(status.appliedAt ?? status.timestamp));
  }

  /** A pass now, or when the pause after the last one is over. */
  async #paced(serviceId: string): Promise<void> {
    const beganMs = this.#clock.monotonic();
    const until = this.#pausedUntil.get(serviceId) ?? 0;
    this.#timers.get(serviceId)?.cancel();
    this.#timers.delete(serviceId);
    if (beganMs < until) {
      this.#wakeIn(serviceId, until - beganMs);
      return;
    }
    this.#pausedUntil.delete(serviceId);
    await this.#pass(serviceId);
  }

  /** After a pass that took so long. */
  #pause(serviceId: string, workedMs: number): void {
    if (workedMs < longPassMs) return;
    this.#pausesEndAt = Math.max(this.#pausesEndAt, this.#clock.monotonic()) + workedMs * pauseFactor;
    this.#pausedUntil.set(serviceId, this.#pausesEndAt);
  }

  #wakeIn(serviceId: string, ms: number): void {
    this.#timers.set(
      serviceId,
      this.#clock.setTimer(ms, () => this.#mark(serviceId)),
    );
  }

  async #pass(serviceId: string): Promise<void> {
    const tx = this.#store.view((tx) => tx);
    const service = tx.services.get(serviceId);
    if (service === undefined) this.#pausedUntil.delete(serviceId);
    const nowMs = this.#clock.now();
    const { value, workedMs } = await this.#pacer.run(this.#plan(tx, service, serviceId, nowMs));
    if (service === undefined) return await this.#removeOrphans(serviceId, value.tasks);
    const { plan } = value;
    this.#pause(serviceId, Math.max(workedMs, value.tasks.length * msPerTask));
    if (plan === undefined) return;
    if (plan.wakeAtMs !== undefined) {
      this.#wakeIn(serviceId, Math.max(0, plan.wakeAtMs - this.#clock.now()));
    }
    if (plan.create.length + plan.desire.length + plan.moves.length === 0 && plan.service === undefined) return;
    this.#logUpdate(service, plan.service?.updateStatus.state, plan.service?.updateStatus.message);
    await this.#write(serviceId, () => applyPlan(this.#store, service, plan, { newId: this.#newId, nowMs }));
  }

  *#plan(
    tx: ReadTx,
    service: Service | undefined,
    serviceId: string,
    nowMs: number,
  ): Steps<{ readonly tasks: readonly Task[]; readonly plan: Plan | undefined }> {
    const tasks: Task[] = [];
    yield* inSteps(tx.tasks.each(byService(serviceId)), (task) => tasks.push(task));
    if (service === undefined) return { tasks, plan: undefined };
    const nodes = isOnEveryNode(service) ? tx.nodes.find(all) : [];
    const node = (id: string) => tx.nodes.get(id);
    const observed = { nowMs, node, runningSinceMs: (taskId: string) => this.#runningSince.get(taskId) };
    return { tasks, plan: yield* planService(service, tasks, nodes, observed) };
  }

  async #removeOrphans(serviceId: string, tasks: readonly Task[]): Promise<void> {
    const left = tasks.filter((task) => task.desiredState < TaskState.REMOVE);
    if (left.length === 0) return;
    await this.#write(serviceId, () => removeTasks(this.#store, left));
  }

  /** A refused write is planned anew; losing leadership ends the loop through its signal. */
  async #write(serviceId: string, write: () => Promise<unknown>): Promise<void> {
    try {
      await write();
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.code === "Internal") throw error;
      this.#log.warn("plan not applied, trying again", { "service.id": serviceId, error: error.message });
      this.#wakeIn(serviceId, 100);
    }
  }

  #logUpdate(service: Service, state: UpdateStatus_UpdateState | undefined, message: string | undefined): void {
    if (state === undefined) return;
    this.#log.info("service update", {
      "service.id": service.id,
      "service.name": service.spec.annotations.name,
      message,
    });
  }
}
