import { SwarmError } from "./errors.ts";

/** One reader of a WatchQueue: an async iterable of what was published since it was made. Ends at `close`. */
export interface Watcher<T> extends AsyncIterable<T> {
  close(): void;
}

/**
 * Publishes values to any number of watchers in order. Publishing never waits: a watcher that lags more than
 * `limit` values behind is ended with a ResourceExhausted error and must read its state anew.
 */
export class WatchQueue<T> {
  readonly #limit: number;
  readonly #sinks = new Set<(value: T) => void>();

  constructor(options: { readonly limit?: number } = {}) {
    this.#limit = options.limit ?? 100_000;
  }

  get watcherCount(): number {
    return this.#sinks.size;
  }

  publish(value: T): void {
    for (const sink of this.#sinks) sink(value);
  }

  /**
   * Starts at once: values published after this call are seen, filtered by `accept` at the time of publishing. `limit`
   * replaces the queue's for this watcher.
   */
  watch(
    options: { readonly accept?: (value: T) => boolean; readonly signal?: AbortSignal; readonly limit?: number } = {},
  ): Watcher<T> {
    const limit = options.limit ?? this.#limit;
    const sinks = this.#sinks;
    const buffer: T[] = [];
    let head = 0;
    let ended: { readonly error?: SwarmError } | undefined;
    let wake: (() => void) | undefined;
    const end = (error?: SwarmError) => {
      if (ended) return;
      ended = error ? { error } : {};
      sinks.delete(sink);
      options.signal?.removeEventListener("abort", close);
      wake?.();
    };
    const sink = (value: T) => {
      if (options.accept && !options.accept(value)) return;
      if (buffer.length - head >= limit) {
        end(
          new SwarmError("ResourceExhausted", `watcher is more than ${limit} changes behind: read again and rewatch`),
        );
        return;
      }
      buffer.push(value);
      wake?.();
    };
    const close = () => {
      buffer.length = 0;
      head = 0;
      end();
    };
    sinks.add(sink);
    if (options.signal?.aborted) close();
    else options.signal?.addEventListener("abort", close, { once: true });
    async function* iterate(): AsyncGenerator<T> {
      try {
        for (;;) {
          while (head < buffer.length) {
            const value = buffer[head++]!;
            if (head > 1024 && head * 2 > buffer.length) {
              buffer.splice(0, head);
              head = 0;
            }
            yield value;
          }
          if (ended?.error) throw ended.error;
          if (ended) return;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          wake = undefined;
        }
      } finally {
        close();
      }
    }
    return { close, [Symbol.asyncIterator]: iterate };
  }
}
