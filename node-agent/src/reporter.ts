import { type TaskStatus, UpdateTaskStatusRequest_TaskStatusUpdate as TaskStatusUpdate } from "@starling/api";
import { type Clock, type Logger, SwarmError } from "@starling/base";

/** Reports that go in one call at most (Swarm: 1024). */
const batchMax = 1_024;
/** Reports that come within this time go together. */
const gatherMs = 1;
const retryMs = 100;

/** Sends reports to the managers; resolves when they are acknowledged. */
export type SendStatuses = (updates: readonly TaskStatusUpdate[]) => Promise<void>;

/**
 * Brings each task's newest status to the managers: kept until acknowledged, through any number of sessions; of several
 * statuses of a task only the last is sent.
 */
export class Reporter {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #pending = new Map<string, TaskStatus>();
  #send: SendStatuses | undefined;
  #scheduled = false;
  #sending = false;

  constructor(options: { readonly clock: Clock; readonly log: Logger }) {
    this.#clock = options.clock;
    this.#log = options.log;
  }

  report(taskId: string, status: TaskStatus): void {
    this.#pending.set(taskId, status);
    this.#schedule(gatherMs);
  }

  /** Forgets a task that managers no longer ask about. */
  drop(taskId: string): void {
    this.#pending.delete(taskId);
  }

  /** Sends through `send` from now on, until the returned function is called. */
  attach(send: SendStatuses): () => void {
    this.#send = send;
    this.#schedule(0);
    return () => {
      if (this.#send === send) this.#send = undefined;
    };
  }

  #schedule(delayMs: number): void {
    if (this.#scheduled || this.#sending || this.#send === undefined || this.#pending.size === 0) return;
    this.#scheduled = true;
    this.#clock.setTimer(delayMs, () => {
      this.#scheduled = false;
      void this.#flush();
    });
  }

  async #flush(): Promise<void> {
    const send = this.#send;
    if (send === undefined || this.#sending) return;
    this.#sending = true;
    const batch = [...this.#pending].slice(0, batchMax);
    let pauseMs = 0;
    try {
      await this.#deliver(send, batch);
    } catch (error) {
      this.#log.debug("status reports will be sent again", { count: batch.length, error });
      pauseMs = retryMs;
    }
    this.#sending = false;
    this.#schedule(pauseMs);
  }

  async #deliver(send: SendStatuses, batch: readonly (readonly [string, TaskStatus])[]): Promise<void> {
    try {
      await send(batch.map(([taskId, status]) => TaskStatusUpdate.create({ taskId, status })));
      for (const [taskId, status] of batch) this.#acknowledge(taskId, status);
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.code !== "PermissionDenied" || batch.length === 0) throw error;
      // One of them is not ours: find it, so that it does not hold up the others.
      const [first, ...rest] = batch;
      if (rest.length > 0) {
        for (const each of batch) await this.#deliver(send, [each]);
      } else if (first !== undefined) {
        this.#log.warn("status report refused", { "task.id": first[0], error });
        this.#acknowledge(...first);
      }
    }
  }

  #acknowledge(taskId: string, status: TaskStatus): void {
    if (this.#pending.get(taskId) === status) this.#pending.delete(taskId);
  }
}
