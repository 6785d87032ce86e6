import {
  type AssignmentsMessage,
  type Node,
  NodeStatus_State,
  SessionMessage,
  type SessionRequest,
  sameValue,
  type Task,
  TaskState,
  TasksMessage,
} from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { type Millis, pacedTurn, SwarmError, Wakeup } from "@starling/base";
import { byNode, type ReadTx } from "@starling/store";
import { callerHost } from "./address.ts";
import { AssignmentSet, type DependencyReader } from "./assignments.ts";
import { seconds } from "./heartbeat.ts";
import { batchWindowMs, type Running, streamSignal } from "./running.ts";

/** Changes that are looked at without waiting for more. */
const changesMax = 100;

/**
 * Registers the node (or goes on with the session it names) and tells it who it is, who manages, and what to trust: at
 * once, and again whenever that changes. Ends when another session of the node begins or this one is lost.
 */
export async function* session(
  running: Running,
  request: SessionRequest,
  context: CallContext,
): AsyncGenerator<SessionMessage> {
  const { options, sessions, feed } = running;
  const { nodeId } = context.caller;
  const signal = streamSignal(running, context);
  const read = () => sessionState(running, nodeId);
  if (read().node === undefined) throw new SwarmError("NotFound", `node ${nodeId} not found in the cluster`);
  const goesOn = sessions.isCurrent(nodeId, request.sessionId);
  const { sessionId, heldBackMs } = goesOn
    ? { sessionId: request.sessionId, heldBackMs: undefined }
    : sessions.register(nodeId);
  if (!goesOn) {
    feed.tell(nodeId, { t: "ended" });
    options.log.info("node registered", { "node.id": nodeId, address: context.remoteAddress || undefined });
  }
  const wakeup = new Wakeup();
  const unsubscribe = feed.subscribe(nodeId, ({ t }) => t !== "task" && wakeup.wake());
  try {
    await running.writes.add([
      {
        t: "node-status",
        nodeId,
        ...(heldBackMs ? heldBack(heldBackMs) : heldBackMs === 0 ? ready : {}),
        addr: callerHost(context.remoteAddress),
        description: request.description,
      },
    ]);
    let told: ReturnType<typeof sessionState> | undefined;
    for (;;) {
      sessions.check(nodeId, sessionId);
      const state = read();
      if (!sameValue(state, told)) yield SessionMessage.create({ sessionId, ...state });
      told = state;
      await wakeup.wait(signal);
    }
  } finally {
    unsubscribe();
  }
}

/** Everything the node has to run, then each change, soon after it is committed. */
export async function* assignments(
  running: Running,
  sessionId: string,
  context: CallContext,
): AsyncGenerator<AssignmentsMessage> {
  const { store, clock } = running.options;
  const { nodeId } = context.caller;
  const set = new AssignmentSet();
  const changes = new TaskChanges(running, nodeId, sessionId, context);
  try {
    await pacedTurn(clock);
    store.view((tx) => {
      for (const task of tx.tasks.find(byNode(nodeId))) set.observe(task.id, task, readerOf(tx));
    });
    yield set.complete();
    for (;;) {
      const taskIds = await changes.next();
      store.view((tx) => {
        for (const id of taskIds) set.observe(id, ownTask(tx, id, nodeId), readerOf(tx));
      });
      if (set.hasChanges) yield set.incremental();
    }
  } finally {
    changes.close();
  }
}

/** The old form of Assignments: all tasks of the node in every message, without their dependencies. */
export async function* tasks(running: Running, sessionId: string, context: CallContext): AsyncGenerator<TasksMessage> {
  const { nodeId } = context.caller;
  const changes = new TaskChanges(running, nodeId, sessionId, context);
  try {
    for (;;) {
      const own = running.options.store.view((tx) => tx.tasks.find(byNode(nodeId)));
      yield TasksMessage.create({ tasks: own.filter(({ status }) => status.state >= TaskState.ASSIGNED) });
      await changes.next();
    }
  } finally {
    changes.close();
  }
}

/** Ids of a node's changed tasks, gathered for a few milliseconds. Subscribed from construction on. */
class TaskChanges {
  readonly #running: Running;
  readonly #nodeId: string;
  readonly #sessionId: string;
  readonly #signal: AbortSignal;
  readonly #wakeup = new Wakeup();
  readonly #unsubscribe: () => void;
  #changed = new Set<string>();
  #lastAt = Number.NEGATIVE_INFINITY;

  constructor(running: Running, nodeId: string, sessionId: string, context: CallContext) {
    this.#running = running;
    this.#nodeId = nodeId;
    this.#sessionId = sessionId;
    this.#signal = streamSignal(running, context);
    this.#check();
    this.#unsubscribe = running.feed.subscribe(nodeId, (change) => {
      if (change.t === "task") this.#changed.add(change.taskId);
      const quiet = change.t === "session" || (change.t === "task" && change.quiet);
      if (!quiet || this.#changed.size >= changesMax) this.#wakeup.wake();
    });
  }

  /** Resolves when there is a change and the last ones were handed out a window ago. Throws when the session ended. */
  async next(): Promise<ReadonlySet<string>> {
    const { clock } = this.#running.options;
    do {
      await this.#wakeup.wait(this.#signal);
      this.#check();
    } while (this.#changed.size === 0);
    const waitMs = this.#lastAt + batchWindowMs - clock.monotonic();
    if (waitMs > 0 && this.#changed.size < changesMax) await clock.sleep(waitMs, this.#signal);
    // One commit concerns many nodes, and their messages are not to be made all at once.
    await pacedTurn(clock);
    this.#lastAt = clock.monotonic();
    this.#check();
    const changed = this.#changed;
    this.#changed = new Set();
    return changed;
  }

  #check(): void {
    this.#running.sessions.check(this.#nodeId, this.#sessionId);
  }

  close(): void {
    this.#unsubscribe();
  }
}

const ready = { state: NodeStatus_State.READY, message: "" };

/** Of a node that came and went too often. */
function heldBack(ms: Millis): { readonly state: NodeStatus_State; readonly message: string } {
  const message = `lost several times within minutes: it gets no tasks until it has stayed for ${seconds(ms)}`;
  return { state: NodeStatus_State.DISCONNECTED, message };
}

function sessionState({ options }: Running, nodeId: string): Omit<SessionMessage, "sessionId"> {
  const { node, cluster } = options.store.view((tx) => ({
    node: tx.nodes.get(nodeId) as Node | undefined,
    cluster: tx.clusters.get(options.clusterId),
  }));
  return {
    node,
    managers: options.peers.current(),
    networkBootstrapKeys: cluster?.networkBootstrapKeys ?? [],
    rootCa: cluster?.rootCa.caCert ?? new Uint8Array(),
  };
}

function ownTask(tx: ReadTx, taskId: string, nodeId: string): Task | undefined {
  const task = tx.tasks.get(taskId);
  return task?.nodeId === nodeId ? task : undefined;
}

function readerOf(tx: ReadTx): DependencyReader {
  return { secret: (id) => tx.secrets.get(id), config: (id) => tx.configs.get(id) };
}
