import type { Readable } from "node:stream";

type Listener<T> = (message: T) => Promise<void> | void;

/** What a caller sends, one message after the other; it is held back while nobody waits for the next. */
export class Incoming<T> implements AsyncIterable<T> {
  readonly #source: Readable;
  readonly #decode: (bytes: Uint8Array) => T;

  constructor(source: Readable, decode: (bytes: Uint8Array) => T) {
    this.#source = source;
    this.#decode = decode;
  }

  /** Leaving early keeps the call open: its status has yet to be sent. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for await (const bytes of this.#source.iterator({ destroyOnReturn: false })) yield this.#decode(bytes);
  }

  /**
   * Resolves when the caller says no more; its call's signal tells whether it went away. Rejects with what the listener or
   * decoding throws.
   */
  async forEach(listener: Listener<T>): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const source = this.#source;
    const goOn = () => void source.resume();
    const take = (bytes: Uint8Array) => {
      try {
        const waits = listener(this.#decode(bytes));
        if (waits === undefined) return;
        source.pause();
        waits.then(goOn, reject);
      } catch (thrown) {
        reject(thrown);
      }
    };
    source.on("data", take).once("end", resolve).once("error", reject).once("close", resolve);
    try {
      await promise;
    } finally {
      source.pause();
      source.off("data", take).off("end", resolve).off("error", reject).off("close", resolve);
    }
  }
}

/**
 * Calls the listener for each request, and waits for it where it promises something. With requests right from a caller nothing is
 * held in memory between two of them. Ends as `Incoming.forEach` does.
 */
export async function forEachRequest<T>(requests: AsyncIterable<T>, listener: Listener<T>): Promise<void> {
  if (requests instanceof Incoming) return await requests.forEach(listener);
  for await (const request of requests) await listener(request);
}
