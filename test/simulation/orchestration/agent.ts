import { Metadata } from "@grpc/grpc-js";
import {
  AssignmentChange_AssignmentAction,
  type AssignmentsMessage,
  AssignmentsMessage_Type,
  AssignmentsRequest,
  ContainerStatus,
  Dispatcher,
  type HeartbeatRequest,
  isTerminal,
  type LiveRequest,
  Meta,
  NodeDescription,
  Platform,
  Resources,
  type SessionRequest,
  TakeLeaveRequest,
  type Task,
  TaskState,
  TaskStatus,
  timestampOfMs,
  type UpdateTaskStatusRequest,
  UpdateTaskStatusRequest_TaskStatusUpdate,
} from "@starling/api";
import type { CallContext, RpcClient } from "@starling/api/rpc";
import { type FakeClock, type Random, SwarmError, type Timer, Wakeup } from "@starling/base";
import type { DispatcherServer } from "@starling/dispatcher";
import { nextStep } from "../../../node-agent/src/exec/advance.ts";
import { type Lifeline, LiveStream, SwarmSession } from "../../../node-agent/src/lifeline.ts";

const retryMs = 200;
/** The handlers that are called answer at once. */
const beatTimeoutMs = 1_000;
/** Reports of this time go together. */
const reportsMs = 20;
/** How the simulated container of a task behaves, by labels of its service. */
export const behaviour = { failing: "sim.failing", flaky: "sim.flaky" } as const;

export type ContainerListener = (what: "started" | "gone", host: SimHost, task: Task) => void;

/** One task as the node's disk has it, and what is under way. */
interface Held {
  task: Task;
  /** The step under way, by its operation. */
  step: { readonly operation: string; readonly timer: Timer | undefined } | undefined;
}

/**
 * A host with a simulated agent: takes assignments from the dispatcher's own handlers, moves each task by production's
 * `nextStep`, reports. `containers` is what really runs, whatever anybody believes.
 */
export class SimHost {
  readonly id: string;
  readonly #clock: FakeClock;
  readonly #random: Random;
  readonly #dispatcher: () => DispatcherServer | undefined;
  readonly #held = new Map<string, Held>();
  readonly #unreported = new Set<string>();
  readonly #containers = new Map<string, Task>();
  readonly #onContainer: ContainerListener;
  /** The machine has power. */
  powered = false;
  /** Packets come through. */
  reachable = true;
  /** Last time something struck this host. */
  troubledAt = Number.NEGATIVE_INFINITY;
  #process: AbortController | undefined;
  #sessionId = "";
  readonly memoryBytes: number;
  readonly #reportsDue = new Wakeup();

  constructor(options: {
    /** Its node's id. */
    readonly id: string;
    readonly clock: FakeClock;
    readonly random: Random;
    readonly dispatcher: () => DispatcherServer | undefined;
    readonly memoryBytes: number;
    /** Told when a container has started, and when it is gone. */
    readonly onContainer: ContainerListener;
  }) {
    this.id = options.id;
    this.memoryBytes = options.memoryBytes;
    this.#onContainer = options.onContainer;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#dispatcher = options.dispatcher;
  }

  get containers(): ReadonlyMap<string, Task> {
    return this.#containers;
  }

  get answersProbes(): boolean {
    return this.powered && this.reachable;
  }

  get swarmdRuns(): boolean {
    return this.#process !== undefined;
  }

  /** Power on: containers of before are gone, the task database is not. */
  boot(): void {
    this.powered = true;
    this.startSwarmd();
  }

  powerCut(): void {
    this.endSwarmd();
    for (const id of [...this.#containers.keys()]) this.#endContainer(id);
    this.powered = false;
  }

  startSwarmd(): void {
    if (this.#process || !this.powered) return;
    const process = new AbortController();
    this.#process = process;
    for (const [id, { task }] of this.#held) {
      const ran = task.status.state >= TaskState.STARTING && !isTerminal(task.status.state);
      if (ran && !this.#containers.has(id)) this.#become(id, { state: TaskState.FAILED, err: "its container is gone" });
      else this.#report(id);
      this.#advance(id);
    }
    void this.#live(process.signal);
  }

  /** Containers go on. */
  endSwarmd(): void {
    this.#process?.abort();
    this.#process = undefined;
    for (const held of this.#held.values()) {
      held.step?.timer?.cancel();
      held.step = undefined;
    }
  }

  /** As an operator does: the managers are told. */
  stopSwarmd(): void {
    const leave = TakeLeaveRequest.create({ sessionId: this.#sessionId });
    const call = this.#reach()?.nodeLife.takeLeave(leave, this.#context(new AbortController().signal));
    this.endSwarmd();
    call?.catch(() => undefined); // No leader just now, or no session.
  }

  async #live(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const session = new AbortController();
      const either = AbortSignal.any([signal, session.signal]);
      try {
        await this.#session(either);
      } catch (thrown) {
        // Any reason ends the session; another begins. A node that was removed ends what it runs.
        if (isRemoved(thrown)) for (const id of [...this.#held.keys()]) this.#remove(id);
      }
      session.abort();
      await this.#clock.sleep(retryMs * (0.5 + this.#random()), signal).catch(() => undefined);
    }
  }

  async #session(signal: AbortSignal): Promise<void> {
    const dispatcher = this.#reach();
    if (dispatcher === undefined) return;
    const context = this.#context(signal);
    const line = this.#openLine(dispatcher, context);
    const first = await line.messages.next();
    if (first.done) return;
    const { sessionId } = first.value;
    this.#sessionId = sessionId;
    const listen = async () => {
      while (!(await line.messages.next()).done);
    };
    const beat = async () => {
      for (;;) {
        this.#mustReach(dispatcher);
        await this.#clock.sleep(await line.beat(beatTimeoutMs), signal);
      }
    };
    const assignments = async () => {
      const stream = dispatcher.handlers.assignments(AssignmentsRequest.create({ sessionId }), context);
      for await (const message of stream) {
        this.#mustReach(dispatcher);
        this.#apply(message);
      }
    };
    const report = async () => {
      for (;;) {
        await this.#sendReports(line, dispatcher);
        await this.#reportsDue.wait(signal);
        await this.#clock.sleep(reportsMs, signal);
      }
    };
    await Promise.race([listen(), beat(), assignments(), report()]);
  }

  /** As our agents beat and report, or as Docker's do, by turns. */
  #openLine(dispatcher: DispatcherServer, context: CallContext): Lifeline {
    const { handlers, nodeLife } = dispatcher;
    const client = {
      duplex: (_: unknown, requests: AsyncIterable<LiveRequest>) => nodeLife.live(requests, context),
      stream: (_: unknown, request: SessionRequest) => handlers.session(request, context),
      call: (method: unknown, request: HeartbeatRequest & UpdateTaskStatusRequest) =>
        method === Dispatcher.methods.heartbeat
          ? handlers.heartbeat(request, context)
          : handlers.updateTaskStatus(request, context),
    } as unknown as RpcClient;
    const Line = Number(this.id.slice(1)) % 2 === 0 ? LiveStream : SwarmSession;
    const { signal } = context;
    return new Line({ client, description: this.#describe(), previousId: "", clock: this.#clock, signal });
  }

  /** Notes that managers have to hear of the task's status. */
  #report(id: string): void {
    this.#unreported.add(id);
    this.#reportsDue.wake();
  }

  async #sendReports(line: Lifeline, dispatcher: DispatcherServer): Promise<void> {
    const updates = [...this.#unreported].flatMap((taskId) => {
      const status = this.#held.get(taskId)?.task.status;
      return status ? [UpdateTaskStatusRequest_TaskStatusUpdate.create({ taskId, status })] : [];
    });
    this.#unreported.clear();
    if (updates.length === 0) return;
    try {
      this.#mustReach(dispatcher);
      await line.report(updates);
    } catch (error) {
      for (const { taskId } of updates) this.#unreported.add(taskId);
      throw error;
    }
  }

  #apply(message: AssignmentsMessage): void {
    const named = new Set<string>();
    for (const { action, assignment } of message.changes) {
      const task = assignment?.task;
      if (task === undefined) continue;
      if (action === AssignmentChange_AssignmentAction.REMOVE) this.#remove(task.id);
      else {
        named.add(task.id);
        this.#assign(task);
      }
    }
    if (message.type !== AssignmentsMessage_Type.COMPLETE) return;
    for (const id of [...this.#held.keys()]) if (!named.has(id)) this.#remove(id);
  }

  #assign(task: Task): void {
    const held = this.#held.get(task.id);
    if (held === undefined) this.#held.set(task.id, { task, step: undefined });
    else if (task.desiredState >= held.task.desiredState) held.task = { ...task, status: held.task.status };
    this.#report(task.id);
    this.#advance(task.id);
  }

  #remove(id: string): void {
    this.#held.get(id)?.step?.timer?.cancel();
    this.#held.delete(id);
    this.#unreported.delete(id);
    this.#endContainer(id);
  }

  /** Begins the step that the task needs now, unless it is under way. */
  #advance(id: string): void {
    const held = this.#held.get(id);
    if (held === undefined || this.#process === undefined) return;
    const { task } = held;
    const step = nextStep(task.status.state, task.desiredState);
    const operation = step.t === "operate" ? step.operation : step.t;
    if (held.step?.operation === operation) return;
    held.step?.timer?.cancel();
    held.step = undefined;
    if (step.t === "rest") return;
    if (step.t === "move") {
      this.#become(id, { state: step.to });
      this.#advance(id);
      return;
    }
    const after = (ms: number, done: () => void) => {
      const timer = this.#clock.setTimer(ms, () => {
        if (held.step?.operation === operation) held.step = undefined;
        done();
        this.#advance(id);
      });
      held.step = { operation, timer };
    };
    const labels = task.serviceAnnotations.labels;
    const isJob = task.jobIteration !== undefined;
    switch (step.operation) {
      case "prepare":
        after(5 + 300 * this.#random(), () => {
          const fails = labels[behaviour.failing] === "prepare";
          this.#become(id, fails ? { state: TaskState.REJECTED, err: "no such image" } : { state: step.to });
        });
        return;
      case "start":
        after(5 + 200 * this.#random(), () => {
          if (labels[behaviour.failing] === "start") this.#become(id, { state: TaskState.FAILED, err: "exit 1" });
          else {
            this.#containers.set(id, held.task);
            this.#onContainer("started", this, held.task);
            this.#become(id, { state: step.to });
          }
        });
        return;
      case "wait": {
        const flaky = labels[behaviour.flaky] !== undefined;
        if (!isJob && !flaky) {
          held.step = { operation, timer: undefined };
          return;
        }
        after(500 + 20_000 * this.#random(), () => {
          this.#endContainer(id);
          const fails = this.#random() < (flaky ? 0.7 : 0.1);
          this.#become(id, fails ? { state: TaskState.FAILED, err: "exit 1" } : { state: step.to });
        });
        return;
      }
      case "shutdown":
        after(5 + 2_000 * this.#random() ** 3, () => {
          this.#endContainer(id);
          this.#become(id, { state: step.to });
        });
        return;
    }
  }

  #become(id: string, change: { readonly state: TaskState; readonly err?: string }): void {
    const held = this.#held.get(id);
    if (held === undefined || isTerminal(held.task.status.state)) return;
    const status = TaskStatus.create({
      ...held.task.status,
      err: "",
      ...change,
      timestamp: timestampOfMs(this.#clock.now()),
      container: change.state >= TaskState.STARTING ? ContainerStatus.create() : undefined,
    });
    held.task = { ...held.task, meta: Meta.create(), status };
    this.#report(id);
  }

  #endContainer(id: string): void {
    const task = this.#containers.get(id);
    if (task === undefined) return;
    this.#containers.delete(id);
    this.#onContainer("gone", this, task);
  }

  #describe(): NodeDescription {
    return NodeDescription.create({
      hostname: this.id,
      platform: Platform.create({ os: "linux", architecture: "amd64" }),
      resources: Resources.create({ nanoCpus: 64e9, memoryBytes: this.memoryBytes }),
    });
  }

  #reach(): DispatcherServer | undefined {
    return this.reachable ? this.#dispatcher() : undefined;
  }

  #mustReach(dispatcher: DispatcherServer): void {
    if (this.#reach() !== dispatcher) throw new SwarmError("Unavailable", "not reachable");
  }

  #context(signal: AbortSignal): CallContext {
    const caller = { nodeId: this.id, roles: ["swarm-worker"], organization: "c", forwarded: false };
    return { caller, signal, remoteAddress: `${this.id}:1`, metadata: new Metadata() };
  }
}

function isRemoved(thrown: unknown): boolean {
  const { code, message } = SwarmError.from(thrown);
  return code === "NotFound" && message.endsWith("not found in the cluster");
}
