import { type AssignmentsMessage, type Task, TaskState, TasksMessage } from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { pacedTurn, Wakeup } from "@starling/base";
import { byNode, type ReadTx } from "@starling/store";
import { AssignmentSet, type DependencyReader } from "./assignments.ts";
import { batchWindowMs, type Running, type RunningNow } from "./running.ts";

/** Changes that are looked at without waiting for more. */
const changesMax = 100;

/** Everything the node has to run, then each change, soon after it is committed. */
export async function* assignments(
  runningNow: RunningNow,
  sessionId: string,
  context: CallContext,
): AsyncGenerator<AssignmentsMessage> {
  const running = await runningNow();
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
export async function* tasks(
  runningNow: RunningNow,
  sessionId: string,
  context: CallContext,
): AsyncGenerator<TasksMessage> {
  const running = await runningNow();
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
    this.#signal = context.signal;
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

function ownTask(tx: ReadTx, taskId: string, nodeId: string): Task | undefined {
  const task = tx.tasks.get(taskId);
  return task?.nodeId === nodeId ? task : undefined;
}

function readerOf(tx: ReadTx): DependencyReader {
  return { secret: (id) => tx.secrets.get(id), config: (id) => tx.configs.get(id) };
}
