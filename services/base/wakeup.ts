/** A flag that one waits for and many set; set several times before it is seen, it is seen once. */
export class Wakeup {
  #set = false;
  #resolve: (() => void) | undefined;

  readonly wake = (): void => {
    this.#set = true;
    this.#resolve?.();
  };

  /** Resolves when woken since the last call returned; rejects with the signal's reason, if one is given. One waiter at a time. */
  async wait(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) throw signal.reason;
    if (!this.#set) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const onAbort = signal && (() => reject(signal.reason));
      if (onAbort) signal.addEventListener("abort", onAbort, { once: true });
      this.#resolve = resolve;
      try {
        await promise;
      } finally {
        if (onAbort) signal.removeEventListener("abort", onAbort);
        this.#resolve = undefined;
      }
    }
    this.#set = false;
  }
}
