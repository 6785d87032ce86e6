import type { Writable } from "node:stream";
import { Wakeup } from "@starling/base";

/**
 * A stream's messages, each made when it can be sent. A handler may answer with one instead of a generator where streams are many
 * and mostly silent: with a generator each message leaves a dozen promises that wait for the next one, and what waits for longer
 * than V8's young generation lasts has to be collected with the old one.
 */
export class Outgoing<T> implements AsyncIterable<T> {
  readonly #take: () => T | undefined;
  readonly #closing: (() => void)[] = [];
  #onReady: () => void = () => undefined;
  #closed = false;
  #end: { readonly error?: unknown } | undefined;

  /**
   * `take` gives the next message, undefined when there is none now; what it throws is what the stream fails with, as it does
   * with the signal's reason.
   */
  constructor(take: () => T | undefined, signal: AbortSignal) {
    this.#take = take;
    const onAbort = () => this.end(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.whenClosed(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
  }

  /** To be called when there may be something to take again. */
  readonly wake = (): void => this.#onReady();

  /** Ends the stream: after what there is to take yet, or at once with an error. */
  readonly end = (error?: unknown): void => {
    this.#end ??= error === undefined ? {} : { error };
    this.#onReady();
  };

  /** Calls the listener when nobody takes messages any more; at once, if that is so. */
  whenClosed(listener: () => void): void {
    if (this.#closed) listener();
    else this.#closing.push(listener);
  }

  #close(): void {
    this.#closed = true;
    this.#onReady = () => undefined;
    for (const listener of this.#closing.splice(0)) listener();
  }

  /** The next message. Undefined: none now, or never again if the stream has ended. */
  #next(): T | undefined {
    if (this.#end?.error !== undefined) throw this.#end.error;
    return this.#take();
  }

  /** Writes all messages; a full buffer holds them back. Resolves when the stream ends or the signal aborts. */
  async sendTo(sink: Pick<Writable, "write" | "once">, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let blocked = false;
    const goOn = () => {
      blocked = false;
      this.#onReady();
    };
    const stop = () => resolve();
    this.#onReady = () => {
      try {
        while (!blocked && !signal.aborted) {
          const message = this.#next();
          if (message === undefined) {
            if (this.#end !== undefined) resolve();
            return;
          }
          if (sink.write(message)) continue;
          blocked = true;
          sink.once("drain", goOn);
        }
      } catch (thrown) {
        reject(thrown);
      }
    };
    signal.addEventListener("abort", stop, { once: true });
    try {
      if (signal.aborted) return;
      this.#onReady();
      await promise;
    } finally {
      signal.removeEventListener("abort", stop);
      this.#close();
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    const wakeup = new Wakeup();
    this.#onReady = wakeup.wake;
    try {
      for (;;) {
        const message = this.#next();
        if (message !== undefined) yield message;
        else if (this.#end !== undefined) return;
        else await wakeup.wait();
      }
    } finally {
      this.#close();
    }
  }
}
