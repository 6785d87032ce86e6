/**
 * From many writers to one reader, in order. A writer waits while `limit` values are unread, so a slow reader holds its
 * writers back instead of growing memory.
 */
export class BoundedQueue<T> {
  readonly #limit: number;
  readonly #values: T[] = [];
  #ended: { readonly error?: unknown } | undefined;
  #wakeReader: (() => void) | undefined;
  #blocked: (() => void)[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves when there is room for more. After the end values are dropped. */
  async push(value: T): Promise<void> {
    while (this.#values.length >= this.#limit && !this.#ended) {
      await new Promise<void>((resolve) => this.#blocked.push(resolve));
    }
    if (this.#ended) return;
    this.#values.push(value);
    this.#wakeReader?.();
  }

  /** What was pushed is still read; then reading ends, with `error` if given. Only the first call counts. */
  end(error?: unknown): void {
    this.#ended ??= error === undefined ? {} : { error };
    this.#wakeReader?.();
    this.#release();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    try {
      for (;;) {
        while (this.#values.length > 0) {
          yield this.#values.shift()!;
          this.#release();
        }
        if (this.#ended && "error" in this.#ended) throw this.#ended.error;
        if (this.#ended) return;
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
      }
    } finally {
      this.#ended ??= {};
      this.#release();
    }
  }

  #release(): void {
    for (const resume of this.#blocked.splice(0)) resume();
  }
}
