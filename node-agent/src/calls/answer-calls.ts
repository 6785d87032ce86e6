import { ListenNodeCallsRequest, NodeCallEnd, NodeCallFrame, type NodeCallNotice, NodeCalls } from "@starling/api";
import { type Clock, Code, type Logger, type Millis, SwarmError } from "@starling/base";
import type { Session } from "../session.ts";
import type { NodeMethod } from "./node-service.ts";

const listenRetryMs: Millis = 1_000;
/** Calls answered at once; more are refused. */
const callsMax = 64;

export interface AnswerCallsOptions {
  readonly session: Pick<Session, "client" | "signal">;
  readonly methods: readonly NodeMethod[];
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Answers what managers ask of this node, for as long as the session lasts: only they are connected to, so only they can
 * ask. Never rejects: a call must not cost the node its session.
 */
export async function answerCalls(options: AnswerCallsOptions): Promise<void> {
  const { session, clock, log } = options;
  let underWay = 0;
  while (!session.signal.aborted) {
    try {
      const notices = session.client.stream(NodeCalls.methods.listen, ListenNodeCallsRequest.create(), {
        signal: session.signal,
      });
      for await (const notice of notices) {
        underWay++;
        const isTooMany = underWay > callsMax;
        void answer(options, notice, isTooMany).finally(() => underWay--);
      }
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.code === "Unimplemented") return; // A manager that makes no calls.
      if (!session.signal.aborted) log.debug("calls will be listened to again", { error });
    }
    await clock.sleep(listenRetryMs, session.signal).catch(() => undefined); // Aborted: the loop ends.
  }
}

async function answer(options: AnswerCallsOptions, notice: NodeCallNotice, isTooMany: boolean): Promise<void> {
  const { session, log } = options;
  const ended = new AbortController();
  const onSessionEnd = () => ended.abort(session.signal.reason);
  session.signal.addEventListener("abort", onSessionEnd, { once: true });
  const requests = new Requests();
  try {
    const frames = session.client.duplex(
      NodeCalls.methods.answer,
      answersOf(options, notice, requests, isTooMany, ended),
      {
        signal: ended.signal,
      },
    );
    for await (const { message, end } of frames) {
      if (message !== undefined) await requests.push(message);
      else if (end !== undefined) requests.end();
    }
  } catch (thrown) {
    log.debug("a call has ended early", { method: notice.method, error: SwarmError.from(thrown).message });
  } finally {
    session.signal.removeEventListener("abort", onSessionEnd);
    requests.end(new SwarmError("Cancelled", "the caller went away"));
    ended.abort(new SwarmError("Cancelled", "the caller went away"));
  }
}

/** The frames of one answer: the call's id, what the method gives, how it ended. */
async function* answersOf(
  { methods, log }: AnswerCallsOptions,
  { callId, method: path }: NodeCallNotice,
  requests: Requests,
  isTooMany: boolean,
  ended: AbortController,
): AsyncGenerator<NodeCallFrame> {
  yield NodeCallFrame.create({ callId });
  try {
    if (isTooMany) throw new SwarmError("ResourceExhausted", `this node answers ${callsMax} calls already: try again`);
    const method = methods.find((each) => each.path === path);
    if (method === undefined) throw new SwarmError("Unimplemented", `this node has no ${path}`);
    for await (const message of method.answer(requests, ended.signal)) yield NodeCallFrame.create({ message });
  } catch (thrown) {
    const error = SwarmError.from(thrown);
    if (error.code === "Internal" || error.code === "Unknown") log.warn("a call failed", { method: path, error });
    yield NodeCallFrame.create({ end: NodeCallEnd.create({ code: Code[error.code], message: error.message }) });
    return;
  }
  yield NodeCallFrame.create({ end: NodeCallEnd.create() });
}

/** Requests on their way to the method: one at a time, so that its pace is the caller's. */
class Requests implements AsyncIterable<Uint8Array> {
  #value: Uint8Array | undefined;
  #ended: { readonly error?: SwarmError } | undefined;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  /** Resolves when it was taken, or will not be. */
  async push(value: Uint8Array): Promise<void> {
    while (this.#value !== undefined && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wakeWriter = resolve;
      });
    }
    if (this.#ended) return;
    this.#value = value;
    this.#wakeReader?.();
  }

  /** What was pushed is still read. Only the first call counts. */
  end(error?: SwarmError): void {
    this.#ended ??= error === undefined ? {} : { error };
    this.#wakeReader?.();
    this.#wakeWriter?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const value = this.#value;
      if (value !== undefined) {
        this.#value = undefined;
        this.#wakeWriter?.();
        yield value;
      } else if (this.#ended?.error !== undefined) throw this.#ended.error;
      else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    }
  }
}
