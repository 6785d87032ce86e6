import {
  ContainerStatus,
  Meta,
  sameValue,
  type Task,
  TaskState,
  TaskStatus,
  taskStateName,
  timestampOfMs,
} from "@starling/api";
import { type Clock, type Logger, type Millis, Wakeup } from "@starling/base";
import { failureOf, nextStep, type Step } from "./exec/advance.ts";
import type { Controller } from "./exec/controller.ts";

/** Pause before an operation that failed for now is tried again. */
const retryMs: Millis = 1_000;

/**
 * Takes one task through its states: asks advance.ts for the next step, has the controller do it, tells the outcome. The
 * status here is the task's canonical one; managers only change what is desired.
 */
export class TaskManager {
  readonly controller: Controller;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onStatus: (task: Task) => void;
  readonly #saved: () => Promise<void>;
  readonly #wakeup = new Wakeup();
  readonly #closing = new AbortController();
  #task: Task;
  /** The controller has not been told of the present task yet. */
  #updated = false;
  /** The operation under way; aborted when an update asks for another. */
  #operation: { readonly step: Step; readonly abort: AbortController } | undefined;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly task: Task;
    readonly controller: Controller;
    readonly clock: Clock;
    readonly log: Logger;
    /** Called after each change of status, with the task that carries it. */
    readonly onStatus: (task: Task) => void;
    /** Resolves when what `onStatus` was told outlives this process. */
    readonly saved: () => Promise<void>;
  }) {
    this.controller = options.controller;
    this.#task = options.task;
    this.#clock = options.clock;
    this.#onStatus = options.onStatus;
    this.#saved = options.saved;
    const { id, nodeId, serviceId } = options.task;
    this.#log = options.log.with({ "task.id": id, "node.id": nodeId, "service.id": serviceId });
  }

  get task(): Task {
    return this.#task;
  }

  start(): void {
    this.#ended = this.#run();
  }

  /** Takes what managers changed. A desired state below the present one is ignored: it only grows. */
  update(task: Task): void {
    if (task.desiredState < this.#task.desiredState || sameForController(task, this.#task)) return;
    this.#task = { ...task, status: this.#task.status };
    this.#updated = true;
    const next = nextStep(this.#task.status.state, this.#task.desiredState);
    const current = this.#operation?.step;
    // Waiting costs nothing to begin again, and lets the controller hear of the update.
    const isWaiting = current?.t === "operate" && current.operation === "wait";
    if (isWaiting || !sameValue(current, next)) this.#operation?.abort.abort();
    this.#wakeup.wake();
  }

  /** Stops managing; the process stays as it is. Resolves when no operation is under way. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const { status, desiredState } = this.#task;
      const step = nextStep(status.state, desiredState);
      if (step.t === "move") this.#become({ state: step.to, message: step.message, err: "" });
      else if (step.t === "operate") await this.#operate(step);
      else await this.#wakeup.wait(signal).catch(() => undefined); // Aborted: the loop ends.
    }
  }

  async #operate(step: Step & { t: "operate" }): Promise<void> {
    const abort = new AbortController();
    const signal = AbortSignal.any([this.#closing.signal, abort.signal]);
    this.#operation = { step, abort };
    this.controller.onProgress = (message) => {
      if (this.#operation?.abort !== abort || signal.aborted) return;
      // The time is still that of the state.
      this.#task = { ...this.#task, status: TaskStatus.create({ ...this.#task.status, message, err: "" }) };
      this.#onStatus(this.#task);
    };
    try {
      await this.#tellUpdate(signal);
      // A swarmd that takes over from here must not find it PREPARING: it would begin anew, and start the program again.
      if (step.operation === "start") await this.#saved();
      signal.throwIfAborted();
      await this.controller[step.operation](signal);
      this.#operation = undefined;
      await this.#arrive({ state: step.to, message: step.message, err: "" });
    } catch (thrown) {
      this.#operation = undefined;
      if (signal.aborted) return; // Something else is wanted now.
      const failure = failureOf(this.#task.status.state, step.operation, thrown);
      if (failure.t === "over") {
        await this.#arrive({ state: failure.state, err: failure.err }, failure.exitCode);
        return;
      }
      this.#log.warn(`${step.operation} will be tried again`, { error: failure.err });
      if (this.#task.status.err !== failure.err) this.#become({ state: this.#task.status.state, err: failure.err });
      await this.#pause();
    }
  }

  async #tellUpdate(signal: AbortSignal): Promise<void> {
    if (!this.#updated) return;
    this.#updated = false;
    try {
      await this.controller.update(this.#task, signal);
    } catch (thrown) {
      // The operation that follows finds out whether the task is hurt.
      if (!signal.aborted) this.#log.warn("update not taken by the controller", { error: thrown });
    }
  }

  /** Enters a state that an operation led to, with what is known of the process. */
  async #arrive(change: Partial<TaskStatus> & { state: TaskState }, exitCode?: number): Promise<void> {
    if (change.state < TaskState.STARTING || change.state === TaskState.REJECTED) return this.#become(change);
    const { status } = this.#task;
    const [found, portStatus] = await Promise.all([
      this.controller.containerStatus().catch((error) => this.#unknown("container status", error)),
      this.controller.portStatus().catch((error) => this.#unknown("port status", error)),
    ]);
    const container = found ?? status.container;
    this.#become({
      ...change,
      portStatus: portStatus ?? status.portStatus,
      container: exitCode === undefined ? container : ContainerStatus.create({ ...(container ?? {}), exitCode }),
    });
  }

  #unknown(what: string, error: unknown): undefined {
    this.#log.warn(`${what} unavailable`, { error });
  }

  #become(change: Partial<TaskStatus> & { state: TaskState }): void {
    const { status } = this.#task;
    if (change.state !== status.state) {
      this.#log.info("task state changed", {
        "state.transition": `${taskStateName(status.state)}->${taskStateName(change.state)}`,
        "state.desired": taskStateName(this.#task.desiredState),
        error: change.err || undefined,
      });
    }
    const timestamp = timestampOfMs(this.#clock.now());
    this.#task = { ...this.#task, status: TaskStatus.create({ ...status, ...change, timestamp }) };
    this.#onStatus(this.#task);
  }

  /** Until the time to try again, an update, or the end. */
  async #pause(): Promise<void> {
    const timer = this.#clock.setTimer(retryMs, this.#wakeup.wake);
    await this.#wakeup.wait(this.#closing.signal).catch(() => undefined); // Aborted: the loop ends.
    timer.cancel();
  }
}

const noMeta = Meta.create();
const noStatus = TaskStatus.create();

function sameForController(a: Task, b: Task): boolean {
  return sameValue({ ...a, meta: noMeta, status: noStatus }, { ...b, meta: noMeta, status: noStatus });
}
