import {
  Dispatcher,
  durationMs,
  Heartbeat,
  HeartbeatRequest,
  LiveRequest,
  type NodeDescription,
  NodeLife,
  type SessionMessage,
  SessionRequest,
  StatusReport,
  type UpdateTaskStatusRequest_TaskStatusUpdate as TaskStatusUpdate,
  UpdateTaskStatusRequest,
} from "@starling/api";
import type { RpcClient } from "@starling/api/rpc";
import { type Clock, type Millis, SwarmError, Wakeup } from "@starling/base";

/** For a call that a live manager answers at once. */
const reportTimeoutMs: Millis = 5_000;

/** What a node says in its session, and what managers say to that. */
export interface Lifeline {
  /** Read without a pause: answers come on the same way. */
  readonly messages: AsyncIterator<SessionMessage>;
  /** Resolves with the time until the next beat is due. Rejects DeadlineExceeded without an answer in time. */
  beat(timeoutMs: Millis): Promise<Millis>;
  /**
   * Resolves when the managers have committed what has become of the tasks; the next report comes after that. Rejects
   * PermissionDenied if one of the tasks is not the node's.
   */
  report(updates: readonly TaskStatusUpdate[]): Promise<void>;
  /** Tells what the node is like from now on; the session goes on. */
  describe(description: NodeDescription): void;
}

export interface LifelineOptions {
  readonly client: RpcClient;
  readonly description: NodeDescription;
  /** Of the session that is to go on, or "". */
  readonly previousId: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** With managers of ours: everything in one stream. Its messages reject Unimplemented where managers have no such thing. */
export class LiveStream implements Lifeline {
  readonly messages: AsyncIterator<SessionMessage>;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #unsaid: LiveRequest[] = [];
  readonly #wakeup = new Wakeup();
  #onHeartbeat: (periodMs: Millis) => void = () => undefined;
  #onReported: (refusal: string) => void = () => undefined;

  constructor({ client, description, previousId, clock, signal }: LifelineOptions) {
    this.#clock = clock;
    this.#signal = signal;
    this.#say(LiveRequest.create({ session: SessionRequest.create({ description, sessionId: previousId }) }));
    this.messages = this.#hear(client);
  }

  beat(timeoutMs: Millis): Promise<Millis> {
    const { promise, resolve, reject } = Promise.withResolvers<Millis>();
    this.#onHeartbeat = resolve;
    const timer = this.#clock.setTimer(timeoutMs, () =>
      reject(new SwarmError("DeadlineExceeded", `no answer to a heartbeat within ${timeoutMs} ms`)),
    );
    this.#say(LiveRequest.create({ heartbeat: Heartbeat.create() }));
    return this.#unlessAborted(promise, reject).finally(() => timer.cancel());
  }

  /** However long the managers take: whether they are there at all is for the beats to find out. */
  report(updates: readonly TaskStatusUpdate[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#onReported = (refusal) => (refusal === "" ? resolve() : reject(new SwarmError("PermissionDenied", refusal)));
    this.#say(LiveRequest.create({ report: StatusReport.create({ updates }) }));
    return this.#unlessAborted(promise, reject);
  }

  describe(description: NodeDescription): void {
    this.#say(LiveRequest.create({ session: SessionRequest.create({ description }) }));
  }

  #unlessAborted<T>(promise: Promise<T>, reject: (reason: unknown) => void): Promise<T> {
    const signal = this.#signal;
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    return promise.finally(() => signal.removeEventListener("abort", onAbort));
  }

  #say(request: LiveRequest): void {
    this.#unsaid.push(request);
    this.#wakeup.wake();
  }

  async *#requests(): AsyncGenerator<LiveRequest> {
    for (;;) {
      yield* this.#unsaid.splice(0);
      await this.#wakeup.wait(this.#signal);
    }
  }

  async *#hear(client: RpcClient): AsyncGenerator<SessionMessage> {
    const responses = client.duplex(NodeLife.methods.live, this.#requests(), { signal: this.#signal });
    for await (const { session, heartbeat, reported } of responses) {
      if (heartbeat !== undefined) this.#onHeartbeat(durationMs(heartbeat.period));
      if (reported !== undefined) this.#onReported(reported.refusal);
      if (session !== undefined) yield session;
    }
  }
}

/** With any managers that speak Swarm: a stream, a call for each beat and report, and another stream for each description. */
export class SwarmSession implements Lifeline {
  readonly messages: AsyncIterator<SessionMessage>;
  readonly #client: RpcClient;
  readonly #signal: AbortSignal;
  #stream: { readonly messages: AsyncIterable<SessionMessage>; readonly close: () => void };
  #sessionId: string;

  constructor({ client, description, previousId, signal }: LifelineOptions) {
    this.#client = client;
    this.#signal = signal;
    this.#sessionId = previousId;
    this.#stream = this.#open(description);
    this.messages = this.#hear();
  }

  async beat(timeoutMs: Millis): Promise<Millis> {
    const request = HeartbeatRequest.create({ sessionId: this.#sessionId });
    const options = { signal: this.#signal, timeoutMs };
    return durationMs((await this.#client.call(Dispatcher.methods.heartbeat, request, options)).period);
  }

  async report(updates: readonly TaskStatusUpdate[]): Promise<void> {
    const request = UpdateTaskStatusRequest.create({ sessionId: this.#sessionId, updates });
    const options = { signal: this.#signal, timeoutMs: reportTimeoutMs };
    await this.#client.call(Dispatcher.methods.updateTaskStatus, request, options);
  }

  describe(description: NodeDescription): void {
    const former = this.#stream;
    this.#stream = this.#open(description);
    former.close();
  }

  #open(description: NodeDescription) {
    const closed = new AbortController();
    const signal = AbortSignal.any([this.#signal, closed.signal]);
    const request = SessionRequest.create({ description, sessionId: this.#sessionId });
    return {
      messages: this.#client.stream(Dispatcher.methods.session, request, { signal }),
      close: () => closed.abort(new SwarmError("Cancelled", "another stream has taken its place")),
    };
  }

  /** Of the present stream, whichever that is. */
  async *#hear(): AsyncGenerator<SessionMessage> {
    for (;;) {
      const stream = this.#stream;
      try {
        for await (const message of stream.messages) {
          this.#sessionId = message.sessionId;
          yield message;
        }
        if (stream === this.#stream) return;
      } catch (thrown) {
        if (stream === this.#stream) throw thrown;
        // The former stream's end, when the node was described anew.
      }
    }
  }
}
