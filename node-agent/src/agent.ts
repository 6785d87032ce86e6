import { join } from "node:path";
import {
  EngineDescription,
  isRemovedNodeError,
  type Node,
  NodeDescription,
  type NodeTLSInfo,
  type SessionMessage,
  sameValue,
  TakeLeaveRequest_Intent,
  type Task,
} from "@starling/api";
import type { RpcClient } from "@starling/api/rpc";
import { type Clock, type Logger, type Millis, type Random, SwarmError, Wakeup } from "@starling/base";
import { answerCalls } from "./calls/answer-calls.ts";
import type { NodeMethod } from "./calls/node-service.ts";
import type { Executor } from "./exec/controller.ts";
import { publishLogs } from "./log-publisher.ts";
import { Remotes } from "./remotes.ts";
import { Reporter } from "./reporter.ts";
import { holdSession, type Session } from "./session.ts";
import { TaskDb } from "./task-db.ts";
import { type DependencySink, Worker } from "./worker.ts";

/** Pause before a new session: random below a bound that grows from the first to the second. */
const backoffMinMs: Millis = 50;
const backoffMaxMs: Millis = 1_000;
/** How often the description is looked at for changes (Swarm: nodeUpdatePeriod). */
const describeEveryMs: Millis = 20_000;

/** The bound after `lastMs` (Swarm: initialSessionFailureBackoff + 2 × the last one); 0: the session held. */
export const nextBackoff = (lastMs: Millis): Millis => Math.min(backoffMaxMs, backoffMinMs + 2 * lastMs);

export interface AgentOptions {
  readonly nodeId: string;
  readonly executor: Executor;
  /** A channel to a manager with the node's credentials; the agent closes it. */
  readonly connect: (address: string) => RpcClient;
  /** Managers known at the start, `host:port`; replaced by what managers tell. */
  readonly managers: readonly string[];
  /** Holds `worker/tasks`. */
  readonly stateDir: string;
  readonly dependencies: DependencySink;
  /** What the node trusts, for its description (NodeIdentity.tlsInfo). */
  readonly tlsInfo: () => NodeTLSInfo;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Everything that managers tell of the cluster: the own node object, managers, root certificate, network keys. */
  readonly onSessionMessage?: (message: SessionMessage) => void;
  /** Engine labels that come and go, for its description. Default: none. */
  readonly labels?: () => Readonly<Record<string, string>>;
  /** What managers may ask of this node. Default: nothing. */
  readonly methods?: readonly NodeMethod[];
  /** Why the agent's run ends, when its signal aborts. Default: swarmd is restarted. */
  readonly leaving?: () => Promise<"restart" | "shutdown">;
  /** The node was removed from the cluster, and nothing of its tasks is left. */
  readonly onRemoved?: (error: SwarmError) => void;
  /** A session has begun: further streams to the managers may use its channel until its signal aborts. */
  readonly onSession?: (session: Session) => void;
}

/** The node's end of its managers: keeps a session with one of them, runs what they assign, reports how it goes. */
export class Agent {
  readonly remotes: Remotes;
  readonly #options: AgentOptions;
  readonly #worker: Worker;
  readonly #reporter: Reporter;
  /** Of the last session; a leader that knows it goes on with it. */
  #sessionId = "";
  #node: Node | undefined;
  /** Why the last session ended. */
  #lastEnd = "";
  #configuring: Promise<void> = Promise.resolve();
  readonly #leaving = new AbortController();
  readonly #left = Promise.withResolvers<void>();
  /** Set when the description is to be looked at now. */
  readonly #changed = new Wakeup();

  constructor(options: AgentOptions) {
    const { clock, log, executor, dependencies } = options;
    this.#options = options;
    this.remotes = new Remotes(options.managers, options.random);
    this.#reporter = new Reporter({ clock, log });
    const db = new TaskDb(join(options.stateDir, "worker", "tasks"), log);
    this.#worker = new Worker({ executor, db, reporter: this.#reporter, dependencies, clock, log });
  }

  /** The tasks of this node, as far as they are known. */
  get tasks(): readonly Task[] {
    return this.#worker.tasks.map(({ task }) => task);
  }

  /** Something that the description holds has changed: managers are told at once, and not at the next look. */
  describeNow(): void {
    this.#changed.wake();
  }

  /** Tells the managers that the node goes for good, and stops its tasks; resolves when none is left. `run` ends then. */
  leave(): Promise<void> {
    this.#leaving.abort(new SwarmError("Cancelled", "the node leaves its swarm"));
    return this.#left.promise;
  }

  /** Runs until the signal aborts; containers go on after that. Throws when the task database cannot be used. */
  async run(stopped: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    const signal = AbortSignal.any([stopped, this.#leaving.signal]);
    await this.#worker.start();
    let backoffMs = 0;
    const avoid = new Set<string>();
    while (!signal.aborted) {
      const address = this.remotes.select(avoid);
      const outcome = await this.#session(address, signal);
      if (signal.aborted) break;
      if (outcome.registered) avoid.clear();
      if (outcome.registered || address === undefined) backoffMs = 0;
      if (isRemovedNodeError(SwarmError.from(outcome.error), this.#options.nodeId)) {
        await this.#removed(SwarmError.from(outcome.error), signal);
        break;
      }
      if (address !== undefined) {
        this.remotes.failed(address);
        avoid.add(address);
        if (this.remotes.addresses.every((each) => avoid.has(each))) avoid.clear();
      }
      this.#logEnd(address, outcome);
      backoffMs = nextBackoff(backoffMs);
      await clock.sleep(random() * backoffMs, signal).catch(() => undefined); // Aborted: the loop ends.
    }
    if (this.#leaving.signal.aborted) {
      await this.#worker.abandon();
      this.#left.resolve();
    }
    await this.#worker.stop();
    await this.#configuring;
  }

  /** Nothing here is the cluster's any more: stops the tasks, then only waits for the end. */
  async #removed(error: SwarmError, signal: AbortSignal): Promise<void> {
    const { log, clock, onRemoved } = this.#options;
    log.error("this node's tasks are being stopped", { error: error.message });
    await this.#worker.abandon();
    if (signal.aborted) return;
    onRemoved?.(error);
    while (!signal.aborted) await clock.sleep(describeEveryMs, signal).catch(() => undefined); // Aborted: the loop ends.
  }

  /** A reason that comes again and again is told once. */
  #logEnd(address: string | undefined, { registered, error }: SessionOutcome): void {
    const { message } = SwarmError.from(error);
    const level = registered || message !== this.#lastEnd ? "info" : "debug";
    this.#lastEnd = message;
    this.#options.log[level]("session ended", { address, error: message });
  }

  /** Holds one session to its end. */
  async #session(address: string | undefined, signal: AbortSignal): Promise<SessionOutcome> {
    if (address === undefined) {
      return { registered: false, error: new SwarmError("Unavailable", "no manager is known") };
    }
    const { connect, clock } = this.#options;
    const client = connect(address);
    let registered = false;
    let detach: (() => void) | undefined;
    try {
      const description = await this.#describe();
      return await holdSession({
        client,
        description,
        previousId: this.#sessionId,
        clock,
        signal,
        onRegistered: (session) => {
          registered = true;
          detach = this.#begin(session, address);
          void this.#watchDescription(description, session);
        },
        onMessage: (message) => this.#hear(message),
        onAssignments: (message) => this.#worker.apply(message),
        leaving: async () => (signal.aborted ? await this.#intent() : undefined),
      });
    } catch (error) {
      return { registered, error };
    } finally {
      detach?.();
      client.close();
    }
  }

  async #intent(): Promise<TakeLeaveRequest_Intent> {
    if (this.#leaving.signal.aborted) return TakeLeaveRequest_Intent.SHUTDOWN;
    const why = (await this.#options.leaving?.()) ?? "restart";
    return why === "restart" ? TakeLeaveRequest_Intent.RESTART : TakeLeaveRequest_Intent.SHUTDOWN;
  }

  #begin(session: Session, address: string): () => void {
    const { nodeId, clock, log, onSession, methods = [] } = this.#options;
    this.#sessionId = session.id;
    this.remotes.answered(address);
    log.info("session with managers", { address, "session.id": session.id });
    const detach = this.#reporter.attach(session.sendStatuses);
    this.#worker.reportAll();
    void answerCalls({ session, methods, clock, log });
    void publishLogs({ session, nodeId, tasks: () => this.#worker.tasks, clock, log });
    onSession?.(session);
    return detach;
  }

  #hear(message: SessionMessage): void {
    const { executor, log, onSessionMessage } = this.#options;
    this.remotes.replace(message.managers);
    const { node } = message;
    if (node !== undefined && !sameValue(node, this.#node)) {
      this.#node = node;
      this.#configuring = this.#configuring
        .then(() => executor.configure(node))
        .catch((error) => log.error("node not configured", { error }));
    }
    onSessionMessage?.(message);
  }

  async #describe(): Promise<NodeDescription> {
    const description = await this.#options.executor.describe();
    const labels = { ...description.engine?.labels, ...this.#options.labels?.() };
    const engine = EngineDescription.create({ ...description.engine, labels });
    return NodeDescription.create({ ...description, engine, tlsInfo: this.#options.tlsInfo() });
  }

  /** Tells the session's managers when the description has changed. */
  async #watchDescription(first: NodeDescription, session: Session): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = session;
    let told = first;
    while (!signal.aborted) {
      try {
        await wakeOrSleep(this.#changed, describeEveryMs, { clock, signal });
        const description = await this.#describe();
        if (sameValue(description, told)) continue;
        session.describe(description);
        told = description;
      } catch (error) {
        if (!signal.aborted) log.warn("node not described", { error });
      }
    }
  }
}

/** Resolves when woken, or after `delayMs`; rejects with the signal's reason. */
async function wakeOrSleep(
  wakeup: Wakeup,
  delayMs: Millis,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<void> {
  const timer = clock.setTimer(delayMs, wakeup.wake);
  try {
    await wakeup.wait(signal);
  } finally {
    timer.cancel();
  }
}

interface SessionOutcome {
  readonly registered: boolean;
  readonly error: unknown;
}
