import { SwarmError } from "@starling/base";
import type { MemoryStore, ObjectEvent, StoreEvent } from "@starling/store";
import { EventBook } from "./event-book.ts";
import type { Fail } from "./index.ts";
import type { WatchChecker } from "./watch.ts";

/**
 * A client that follows the cluster through whichever manager is at hand: it loses its connection now and then, and goes on
 * from the last version that it saw, often at another manager. It must see each change once, in order.
 */
export class Follower {
  readonly #book: EventBook;
  /** A mutant's: from which version it goes on instead. */
  readonly #resumesFrom: (version: number) => number;
  #at: { readonly store: MemoryStore; readonly stop: AbortController } | undefined;

  constructor(options: {
    readonly fail: Fail;
    readonly told: Map<number, string>;
    readonly resumesFrom?: ((version: number) => number) | undefined;
  }) {
    this.#book = new EventBook(options.fail, "client that comes back", options.told);
    this.#resumesFrom = options.resumesFrom ?? ((version) => version);
  }

  get connected(): boolean {
    return this.#at !== undefined;
  }

  /**
   * Connects to a manager's store, which `watcher` follows, too.
   * - resumed: it goes on where it was
   * - anew: that is not remembered there; it reads everything
   * - refused: the manager is not that far
   */
  connect(store: MemoryStore, watcher: WatchChecker): "resumed" | "anew" | "refused" {
    const stop = new AbortController();
    const fromSnapshot: boolean[] = [];
    const accept = (event: StoreEvent) => {
      if (event.kind === "commit") fromSnapshot.push(watcher.restoring);
      return true;
    };
    const options = { accept, signal: stop.signal };
    const { version } = this.#book;
    let events: ReturnType<MemoryStore["watchFrom"]>;
    try {
      if (version !== undefined) events = store.watchFrom(this.#resumesFrom(version), options);
    } catch (thrown) {
      if (SwarmError.from(thrown).code === "Unavailable") return "refused";
      throw thrown;
    }
    const resumed = events !== undefined;
    if (events === undefined) {
      const read = store.viewAndWatch((tx) => ({ services: tx.services.find(), tasks: tx.tasks.find() }), options);
      this.#book.begin(read.value, store.version);
      events = read.events;
    }
    this.#at = { store, stop };
    void this.#follow(events, stop.signal, fromSnapshot);
    return resumed ? "resumed" : "anew";
  }

  disconnect(): void {
    this.#at?.stop.abort();
    this.#at = undefined;
  }

  /** The manager with this store ends. */
  ends(store: MemoryStore | undefined): void {
    if (this.#at?.store === store) this.disconnect();
  }

  /** To be called when nothing is under way. */
  compare(store: MemoryStore): void {
    if (this.#at?.store === store) this.#book.compare(store);
  }

  async #follow(events: AsyncIterable<StoreEvent>, signal: AbortSignal, fromSnapshot: boolean[]): Promise<void> {
    // Whoever is cut off in the middle of a commit gets all of it again.
    let commit: ObjectEvent[] = [];
    for await (const event of events) {
      if (signal.aborted) return;
      if (!("version" in event)) {
        commit.push(event);
        continue;
      }
      for (const change of commit) this.#book.change(change);
      this.#book.commit(event.version, fromSnapshot.shift() === true);
      commit = [];
    }
  }
}
