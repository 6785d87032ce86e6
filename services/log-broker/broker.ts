import {
  type LogBroker,
  type Logs,
  type PublishLogsMessage,
  PublishLogsResponse,
  type SubscribeLogsMessage,
  type SubscribeLogsRequest,
  type SubscriptionMessage,
} from "@starling/api";
import type { CallContext, Handlers } from "@starling/api/rpc";
import { type Logger, SwarmError } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { BoundedQueue } from "./bounded-queue.ts";
import { Subscription } from "./subscription.ts";

/** Subscriptions are few and small; a node that does not take them holds nobody back but itself. */
const untakenMax = Number.POSITIVE_INFINITY;

export interface LogBrokerOptions {
  readonly store: MemoryStore;
  readonly log: Logger;
}

/**
 * The leader's exchange of task output: clients subscribe (Logs), nodes that hold matching tasks hear of it and publish
 * (LogBroker). Handlers answer Unavailable while `run` is not running.
 */
export interface LogBrokerServer {
  readonly logs: Handlers<typeof Logs>;
  readonly logBroker: Handlers<typeof LogBroker>;
  run(signal: AbortSignal): Promise<void>;
}

export function createLogBroker(options: LogBrokerOptions): LogBrokerServer {
  let broker: Broker | undefined;
  const mustRun = () => {
    if (broker === undefined) throw stoppedError();
    return broker;
  };
  return {
    logs: {
      async *subscribeLogs(request, context) {
        yield* mustRun().subscribe(request, context);
      },
    },
    logBroker: {
      async *listenSubscriptions(_request, context) {
        yield* mustRun().listen(context);
      },
      publishLogs: async (messages, context) => await mustRun().publish(messages, context),
    },
    run: async (signal) => {
      const current = new Broker(options);
      broker = current;
      try {
        await current.follow(signal);
      } finally {
        broker = undefined;
        current.stop();
      }
    },
  };
}

/** One start of the log broker, to its end. */
class Broker {
  readonly #store: MemoryStore;
  readonly #subscriptions = new Map<string, Subscription>();
  /** Listening streams by node; a node that reconnects has two for a moment. */
  readonly #listeners = new Map<string, Set<BoundedQueue<SubscriptionMessage>>>();

  constructor({ store }: LogBrokerOptions) {
    this.#store = store;
  }

  /** Tells following subscriptions of new tasks until the signal aborts. */
  async follow(signal: AbortSignal): Promise<void> {
    // A subscription begins with the tasks that there are: what was committed while there was none it need not hear of.
    const accept = () => this.#subscriptions.size > 0;
    for await (const { action, object } of this.#store.watch({ kinds: ["task"], accept, signal })) {
      if (action === "remove") continue;
      for (const subscription of this.#subscriptions.values()) {
        const nodeId = subscription.follow ? subscription.observe(object) : undefined;
        if (nodeId !== undefined) this.#tell(nodeId, subscription.message(false));
      }
    }
  }

  stop(): void {
    for (const subscription of this.#subscriptions.values()) subscription.abort(stoppedError());
    for (const queues of this.#listeners.values()) for (const queue of queues) queue.end(stoppedError());
  }

  async *subscribe(request: SubscribeLogsRequest, { signal }: CallContext): AsyncGenerator<SubscribeLogsMessage> {
    const subscription = new Subscription(request);
    this.#store.view((tx) => subscription.match(tx));
    this.#subscriptions.set(subscription.id, subscription);
    const onAbort = () => subscription.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      for (const nodeId of subscription.nodes) {
        if (this.#listeners.has(nodeId)) this.#tell(nodeId, subscription.message(false));
        else subscription.finish(nodeId, `node ${nodeId} is not available`);
      }
      subscription.endIfFinished();
      yield* subscription.read();
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#subscriptions.delete(subscription.id);
      for (const nodeId of subscription.nodes) this.#tell(nodeId, subscription.message(true));
    }
  }

  async *listen({ caller, signal }: CallContext): AsyncGenerator<SubscriptionMessage> {
    const { nodeId } = caller;
    const queue = new BoundedQueue<SubscriptionMessage>(untakenMax);
    const queues = this.#listeners.get(nodeId) ?? new Set();
    this.#listeners.set(nodeId, queues.add(queue));
    const onAbort = () => queue.end();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      for (const subscription of this.#subscriptions.values()) {
        if (subscription.nodes.has(nodeId)) void queue.push(subscription.message(false));
      }
      yield* queue;
    } finally {
      signal.removeEventListener("abort", onAbort);
      queues.delete(queue);
      if (queues.size === 0) {
        this.#listeners.delete(nodeId);
        for (const subscription of this.#subscriptions.values()) {
          if (subscription.nodes.has(nodeId)) subscription.finish(nodeId, `node ${nodeId} disconnected unexpectedly`);
        }
      }
    }
  }

  /** Takes a node's output for one subscription. A node may only speak of itself. */
  async publish(messages: AsyncIterable<PublishLogsMessage>, { caller }: CallContext): Promise<PublishLogsResponse> {
    const { nodeId } = caller;
    let subscription: Subscription | undefined;
    let problem: string | undefined = `node ${nodeId} ended its logs unexpectedly`;
    try {
      for await (const { subscriptionId, messages: logs, close } of messages) {
        subscription ??= this.#mustSubscription(subscriptionId);
        if (subscriptionId !== subscription.id) {
          throw new SwarmError("InvalidArgument", "different subscription IDs in the same session");
        }
        if (close) {
          problem = undefined;
          break;
        }
        const foreign = logs.find(({ context }) => context.nodeId !== nodeId)?.context.nodeId;
        if (foreign !== undefined) {
          throw new SwarmError("PermissionDenied", `invalid NodeID: expected=${nodeId};received=${foreign}`);
        }
        await subscription.publish(logs);
      }
      return PublishLogsResponse.create();
    } finally {
      subscription?.finish(nodeId, problem);
    }
  }

  #mustSubscription(id: string): Subscription {
    if (id === "") throw new SwarmError("InvalidArgument", "missing subscription ID");
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) throw new SwarmError("NotFound", "unknown subscription ID");
    return subscription;
  }

  #tell(nodeId: string, message: SubscriptionMessage): void {
    for (const queue of this.#listeners.get(nodeId) ?? []) void queue.push(message);
  }
}

function stoppedError(): SwarmError {
  return new SwarmError("Unavailable", "log broker is not running");
}
