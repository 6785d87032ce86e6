import type { MemoryStore, StoreEvent } from "@starling/store";
import { EventBook } from "./event-book.ts";
import type { Fail } from "./index.ts";

/** Follows a store from its first to its last moment by its events alone. */
export class WatchChecker {
  readonly #store: MemoryStore;
  readonly #book: EventBook;
  readonly #stop = new AbortController();
  /** The store is being replaced by a snapshot: one commit tells the difference. */
  restoring = false;
  readonly #fromSnapshot: boolean[] = [];

  constructor(options: {
    readonly fail: Fail;
    readonly name: string;
    readonly store: MemoryStore;
    readonly told: Map<number, string>;
    /** A mutant's: loses the events that it returns true for. */
    readonly loses?: ((event: StoreEvent) => boolean) | undefined;
  }) {
    this.#store = options.store;
    this.#book = new EventBook(options.fail, `watcher of ${options.name}`, options.told);
    void this.#follow(options.loses ?? (() => false));
  }

  close(): void {
    this.#stop.abort();
  }

  /** To be called when nothing is under way: the watcher has seen everything. */
  compare(): void {
    this.#book.compare(this.#store);
  }

  async #follow(loses: (event: StoreEvent) => boolean): Promise<void> {
    const accept = (event: StoreEvent) => {
      if (event.kind === "commit") this.#fromSnapshot.push(this.restoring);
      return !loses(event);
    };
    for await (const event of this.#store.watch({ accept, signal: this.#stop.signal })) {
      if ("version" in event) this.#book.commit(event.version, this.#fromSnapshot.shift() === true);
      else this.#book.change(event);
    }
  }
}
