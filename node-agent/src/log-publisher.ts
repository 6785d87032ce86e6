import {
  ListenSubscriptionsRequest,
  LogBroker,
  LogContext,
  LogMessage,
  type LogSelector,
  LogStream,
  LogSubscriptionOptions,
  PublishLogsMessage,
  type SubscriptionMessage,
  type Task,
  TaskState,
} from "@starling/api";
import { type Clock, type Logger, type Millis, SwarmError } from "@starling/base";
import type { Controller, LogChunk } from "./exec/controller.ts";
import type { Session } from "./session.ts";

const listenRetryMs: Millis = 1_000;
/** A follower looks this often for tasks that came to match. */
const newTasksEveryMs: Millis = 250;

export interface LogPublisherOptions {
  readonly session: Session;
  readonly nodeId: string;
  readonly tasks: () => readonly { readonly task: Task; readonly controller: Controller }[];
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Sends the output of this node's tasks to whoever subscribes at the managers, for as long as the session lasts. Never
 * rejects: logs must not cost the node its session.
 */
export async function publishLogs(options: LogPublisherOptions): Promise<void> {
  const { session, clock, log } = options;
  while (!session.signal.aborted) {
    const subscriptions = new Map<string, AbortController>();
    try {
      const messages = session.client.stream(
        LogBroker.methods.listenSubscriptions,
        ListenSubscriptionsRequest.create(),
        { signal: session.signal },
      );
      for await (const message of messages) {
        subscriptions.get(message.id)?.abort();
        subscriptions.delete(message.id);
        if (message.close) continue;
        const ending = new AbortController();
        subscriptions.set(message.id, ending);
        void publish(options, message, AbortSignal.any([session.signal, ending.signal]));
      }
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.code === "Unimplemented") return; // A manager without a log broker.
      if (!session.signal.aborted) log.debug("log subscriptions will be listened to again", { error });
    } finally {
      for (const ending of subscriptions.values()) ending.abort();
    }
    await clock.sleep(listenRetryMs, session.signal).catch(() => undefined); // Aborted: the loop ends.
  }
}

async function publish(
  options: LogPublisherOptions,
  subscription: SubscriptionMessage,
  signal: AbortSignal,
): Promise<void> {
  const { session, log } = options;
  try {
    const messages = outputOf(options, subscription, signal);
    await session.client.upload(LogBroker.methods.publishLogs, messages, { signal });
  } catch (error) {
    if (!signal.aborted) log.debug("logs not published", { "subscription.id": subscription.id, error });
  }
}

/** Output of all matching tasks as it comes, then a closing message. A follower's ends only with the signal. */
async function* outputOf(
  { tasks, nodeId, clock, log }: LogPublisherOptions,
  { id, selector, options }: SubscriptionMessage,
  signal: AbortSignal,
): AsyncGenerator<PublishLogsMessage> {
  const wanted = options ?? LogSubscriptionOptions.create();
  const seen = new Set<string>();
  const merged = new Merge<PublishLogsMessage | undefined>();
  const addNew = () => {
    for (const { task, controller } of tasks()) {
      if (seen.has(task.id) || !selects(selector, task, nodeId) || task.status.state < TaskState.STARTING) continue;
      seen.add(task.id);
      const context = LogContext.create({ serviceId: task.serviceId, nodeId, taskId: task.id });
      merged.add(messagesOf(controller.logs(wanted, signal), id, context), (error) => {
        if (!signal.aborted) log.warn("logs of a task ended early", { "task.id": task.id, error });
      });
    }
  };
  addNew();
  if (wanted.follow) {
    merged.add(
      (async function* (): AsyncGenerator<undefined> {
        for (;;) {
          await clock.sleep(newTasksEveryMs, signal);
          addNew();
          yield undefined;
        }
      })(),
      () => undefined, // Ends with the signal.
    );
  }
  for await (const message of merged) if (message !== undefined) yield message;
  yield PublishLogsMessage.create({ subscriptionId: id, close: true });
}

async function* messagesOf(
  chunks: AsyncIterable<LogChunk>,
  subscriptionId: string,
  context: LogContext,
): AsyncGenerator<PublishLogsMessage> {
  for await (const { stream, timestampNs, data } of chunks) {
    const message = LogMessage.create({
      context,
      timestamp: { seconds: Number(timestampNs / 1_000_000_000n), nanos: Number(timestampNs % 1_000_000_000n) },
      stream: stream === "stdout" ? LogStream.LOG_STREAM_STDOUT : LogStream.LOG_STREAM_STDERR,
      data,
    });
    yield PublishLogsMessage.create({ subscriptionId, messages: [message] });
  }
}

/** A task is meant by its own id, its service's or its node's (Swarm: worker.matches; lists are alternatives). */
function selects(selector: LogSelector | undefined, task: Task, nodeId: string): boolean {
  if (selector === undefined) return false;
  const { serviceIds, taskIds, nodeIds } = selector;
  return serviceIds.includes(task.serviceId) || taskIds.includes(task.id) || nodeIds.includes(nodeId);
}

/**
 * Several streams as one, each value as soon as it is there; a stream is read on only when its value was taken. A stream
 * that is added while a value is awaited is read from the next value on.
 */
class Merge<T> {
  readonly #next = new Set<Promise<() => { readonly value: T } | undefined>>();

  add(source: AsyncGenerator<T>, onError: (error: unknown) => void): void {
    const pull = () => {
      const next: Promise<() => { readonly value: T } | undefined> = source.next().then(
        (result) => () => {
          this.#next.delete(next);
          if (result.done) return undefined;
          pull();
          return { value: result.value };
        },
        (error) => () => {
          this.#next.delete(next);
          onError(error);
          return undefined;
        },
      );
      this.#next.add(next);
    };
    pull();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    while (this.#next.size > 0) {
      const taken = (await Promise.race(this.#next))();
      if (taken) yield taken.value;
    }
  }
}
