import { type Reader, type Watcher, WatchQueue } from "@starling/base";
import { History } from "./history.ts";
import type { CommitEvent, EventKind, EventOf, ObjectEvent, StoreEvent } from "./objects.ts";

export interface WatchOptions<K extends EventKind = EventKind> {
  /** Only events of these kinds; "commit" is one of them. Default: all. */
  readonly kinds?: readonly K[];
  /** Only events that this accepts; called when they are committed. */
  readonly accept?: (event: EventOf<K>) => boolean;
  /** Ends the iteration (without an error) when it aborts. */
  readonly signal?: AbortSignal;
  /** Events it may lag behind before it is ended with ResourceExhausted. Default: 1,000,000. */
  readonly lagMax?: number;
}

const WATCHER_LAG_MAX = 1_000_000;
/** Changes kept for `watchFrom`: as many as Swarm's log keeps entries between snapshots. */
const HISTORY_CHANGES_MAX = 10_000;

/** The committed changes, in log order, to whoever watches. */
export class EventFeed {
  readonly #queue = new WatchQueue<StoreEvent>({ limit: WATCHER_LAG_MAX });
  readonly #history = new History(HISTORY_CHANGES_MAX);

  publish(changes: readonly ObjectEvent[], version: number): void {
    this.#history.add({ changes, version });
    this.#tell(changes, version);
  }

  /** The state was replaced by a snapshot's, which differs by `changes`: watchers get them, those to come cannot. */
  replace(changes: readonly ObjectEvent[], version: number): void {
    this.#history.forget();
    this.#tell(changes, version);
  }

  #tell(changes: readonly ObjectEvent[], version: number): void {
    if (this.#queue.watcherCount === 0) return;
    for (const change of changes) this.#queue.publish(change);
    this.#queue.publish({ kind: "commit", version } satisfies CommitEvent);
  }

  watch<K extends EventKind>(options: WatchOptions<K>): Watcher<EventOf<K>> {
    const accept = acceptor(options);
    const { signal, lagMax } = options;
    const watcher = this.#queue.watch({
      ...(accept && { accept }),
      ...(signal && { signal }),
      ...(lagMax !== undefined && { limit: lagMax }),
    });
    return watcher as Watcher<StoreEvent> as Watcher<EventOf<K>>;
  }

  /** As `watch`, after all that was committed after `version`; undefined when that is not remembered. */
  watchFrom<K extends EventKind>(version: number, options: WatchOptions<K>): Reader<EventOf<K>> | undefined {
    const commits = this.#history.after(version);
    if (commits === undefined) return undefined;
    const accept = acceptor(options) ?? (() => true);
    const missed = commits
      .flatMap(({ changes, version }): StoreEvent[] => [...changes, { kind: "commit", version }])
      .filter(accept) as EventOf<K>[];
    return following(missed, this.watch(options), options.signal);
  }
}

/** First `missed`, then what `live` gives. */
function following<T>(missed: readonly T[], live: Reader<T>, signal: AbortSignal | undefined): Reader<T> {
  let closed = false;
  async function* iterate(): AsyncGenerator<T> {
    try {
      for (const event of missed) {
        if (closed || signal?.aborted) return;
        yield event;
      }
      yield* live;
    } finally {
      live.close();
    }
  }
  const close = () => {
    closed = true;
    live.close();
  };
  return { close, [Symbol.asyncIterator]: iterate };
}

function acceptor<K extends EventKind>(options: WatchOptions<K>): ((event: StoreEvent) => boolean) | undefined {
  const accept = options.accept as ((event: StoreEvent) => boolean) | undefined;
  if (options.kinds === undefined) return accept;
  const wanted = new Set<EventKind>(options.kinds);
  if (accept === undefined) return (event) => wanted.has(event.kind);
  return (event) => wanted.has(event.kind) && accept(event);
}
