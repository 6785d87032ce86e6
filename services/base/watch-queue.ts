import { SwarmError } from "./errors.ts";

/** An async iterable of what is published, in order. Ends at `close`. */
export interface Reader<T> extends AsyncIterable<T> {
  close(): void;
}

/** One reader of a WatchQueue: of what was published since it was made. */
export interface Watcher<T> extends Reader<T> {
  /**
   * The same values, all that there are at a time, never none: for who reads thousands a second, each of which would cost him
   * promises. Instead of the iteration by values.
   */
  batches(): AsyncIterable<readonly T[]>;
}

/**
 * Publishes values to any number of watchers in order. Publishing never waits: a watcher that lags more than
 * `limit` values behind is ended with a ResourceExhausted error and must read its state anew.
 */
export class WatchQueue<T> {
  readonly #limit: number;
  readonly #watchers = new Set<QueueWatcher<T>>();

  constructor(options: { readonly limit?: number } = {}) {
    this.#limit = options.limit ?? 100_000;
  }

  get watcherCount(): number {
    return this.#watchers.size;
  }

  publish(value: T): void {
    for (const watcher of this.#watchers) watcher.tell(value);
  }

  /**
   * Starts at once: values published after this call are seen, filtered by `accept` at the time of publishing. `limit`
   * replaces the queue's for this watcher.
   */
  watch(
    options: { readonly accept?: (value: T) => boolean; readonly signal?: AbortSignal; readonly limit?: number } = {},
  ): Watcher<T> {
    return new QueueWatcher(this.#watchers, options.limit ?? this.#limit, options);
  }
}

/** What a watcher that was ended says to its reader once that has read what came before; without an error it just ends. */
interface End {
  readonly error?: SwarmError;
}

/** Hands a value straight to a reader that waits for it: thousands of watchers are told of each change. */
class QueueWatcher<T> implements Watcher<T>, AsyncIterator<T> {
  readonly #watchers: Set<QueueWatcher<T>>;
  readonly #limit: number;
  readonly #accept: ((value: T) => boolean) | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.close();
  /** Values not read yet: `#buffer[#head…]`. Empty while a reader waits. */
  #buffer: T[] = [];
  #head = 0;
  #waiting: PromiseWithResolvers<IteratorResult<T, undefined>>[] = [];
  /** Resumes who waits for a batch. */
  #wake: (() => void) | undefined;
  #end: End | undefined;

  constructor(
    watchers: Set<QueueWatcher<T>>,
    limit: number,
    options: { readonly accept?: (value: T) => boolean; readonly signal?: AbortSignal },
  ) {
    this.#watchers = watchers;
    this.#limit = limit;
    this.#accept = options.accept;
    this.#signal = options.signal;
    watchers.add(this);
    if (options.signal?.aborted) this.close();
    else options.signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return this;
  }

  tell(value: T): void {
    if (this.#accept && !this.#accept(value)) return;
    const reader = this.#waiting.shift();
    if (reader !== undefined) reader.resolve({ done: false, value });
    else if (this.#buffer.length - this.#head < this.#limit) {
      this.#buffer.push(value);
      if (this.#wake !== undefined) this.#resume();
    } else {
      const message = `watcher is more than ${this.#limit} changes behind: read again and rewatch`;
      this.#finish({ error: new SwarmError("ResourceExhausted", message) });
    }
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#head < this.#buffer.length) return Promise.resolve({ done: false, value: this.#take() });
    if (this.#end !== undefined) {
      const { error } = this.#end;
      this.#end = {};
      return error ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined });
    }
    const reader = Promise.withResolvers<IteratorResult<T, undefined>>();
    this.#waiting.push(reader);
    return reader.promise;
  }

  async *batches(): AsyncGenerator<readonly T[]> {
    try {
      for (;;) {
        if (this.#head < this.#buffer.length) yield this.#takeAll();
        else if (this.#end === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
        else if (this.#end.error !== undefined) throw this.#end.error;
        else return;
      }
    } finally {
      this.close();
    }
  }

  /** The reader has had enough. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  close(): void {
    this.#buffer = [];
    this.#head = 0;
    this.#finish({});
  }

  #take(): T {
    const value = this.#buffer[this.#head++]!;
    if (this.#head > 1024 && this.#head * 2 > this.#buffer.length) {
      this.#buffer.splice(0, this.#head);
      this.#head = 0;
    }
    return value;
  }

  #takeAll(): readonly T[] {
    const values = this.#head === 0 ? this.#buffer : this.#buffer.slice(this.#head);
    this.#buffer = [];
    this.#head = 0;
    return values;
  }

  #finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#watchers.delete(this);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    for (const reader of this.#waiting.splice(0)) reader.resolve({ done: true, value: undefined });
    this.#resume();
  }

  #resume(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
