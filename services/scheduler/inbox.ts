import type { Watcher } from "@starling/base";

/** Collects what a watcher gives, so that its reader can take all that has arrived at once. */
export class Inbox<T> {
  #items: T[] = [];
  #wake: (() => void) | undefined;
  #end: { readonly error?: unknown } | undefined;

  constructor(source: Watcher<T>) {
    void this.#collect(source);
  }

  /** Resolves when something has arrived or the source has ended; rejects with the source's error. */
  async arrival(): Promise<void> {
    if (this.#items.length === 0 && this.#end === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#end && "error" in this.#end) throw this.#end.error;
  }

  take(): T[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }

  async #collect(source: Watcher<T>): Promise<void> {
    try {
      for await (const batch of source.batches()) {
        for (const item of batch) this.#items.push(item);
        this.#wake?.();
      }
      this.#end = {};
    } catch (error) {
      this.#end = { error };
    }
    this.#wake?.();
  }
}
