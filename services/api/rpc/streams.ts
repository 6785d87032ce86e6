import type { Writable } from "node:stream";

/**
 * Writes every message of `source` to `sink`, waiting whenever its buffer is full, so that a slow peer holds the source
 * back instead of growing memory. Returns when the source ends or the signal aborts.
 */
export async function writeAll(
  sink: Pick<Writable, "write" | "once" | "off">,
  source: AsyncIterable<unknown>,
  signal: AbortSignal,
): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  const aborting = new Aborting(signal);
  try {
    for (;;) {
      const next = await aborting.orDone(iterator.next());
      if (next === undefined || next.done) return;
      if (!sink.write(next.value)) await aborting.orDone(drained(sink));
      if (signal.aborted) return;
    }
  } finally {
    aborting.release();
    // Not awaited: a generator that waits for its own signal ends by itself, and must not hold up the call's end.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

function drained(sink: Pick<Writable, "once">): Promise<void> {
  return new Promise((resolve) => sink.once("drain", resolve));
}

/** Waits for one thing after the other, none longer than until the signal aborts. One listener for all of them. */
class Aborting {
  readonly #signal: AbortSignal;
  #stopWaiting: (() => void) | undefined;
  readonly #onAbort = () => this.#stopWaiting?.();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** `promise`, or undefined as soon as the signal aborts. */
  orDone<T>(promise: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      this.#stopWaiting = () => resolve(undefined);
      if (this.#signal.aborted) this.#stopWaiting();
      promise.then(resolve, reject);
    });
  }

  release(): void {
    this.#signal.removeEventListener("abort", this.#onAbort);
    this.#stopWaiting = undefined;
  }
}
