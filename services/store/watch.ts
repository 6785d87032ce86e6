import { type Watcher, WatchQueue } from "@starling/base";
import type { StoreEvent } from "./objects.ts";
import {
  type CommitEvent,
  type EventKind,
  type EventOf,
  type Kind,
  kinds,
  type ObjectEvent,
  tableName,
} from "./objects.ts";
import type { Root } from "./tables/root.ts";

export interface WatchOptions<K extends EventKind = EventKind> {
  /** Only events of these kinds; "commit" is one of them. Default: all. */
  readonly kinds?: readonly K[];
  /** Only events that this accepts; called when they are committed. */
  readonly accept?: (event: EventOf<K>) => boolean;
  /** Ends the iteration (without an error) when it aborts. */
  readonly signal?: AbortSignal;
}

/** Events a watcher may lag behind before it is ended with ResourceExhausted. */
const WATCHER_LAG_MAX = 1_000_000;

/** The committed changes, in log order, to whoever watches. */
export class EventFeed {
  readonly #queue = new WatchQueue<StoreEvent>({ limit: WATCHER_LAG_MAX });

  publish(changes: readonly ObjectEvent[], version: number): void {
    if (this.#queue.watcherCount === 0) return;
    for (const change of changes) this.#queue.publish(change);
    this.#queue.publish({ kind: "commit", version } satisfies CommitEvent);
  }

  watch<K extends EventKind>(options: WatchOptions<K>): Watcher<EventOf<K>> {
    const accept = acceptor(options);
    const { signal } = options;
    const watcher = this.#queue.watch({ ...(accept && { accept }), ...(signal && { signal }) });
    return watcher as Watcher<StoreEvent> as Watcher<EventOf<K>>;
  }
}

function acceptor<K extends EventKind>(options: WatchOptions<K>): ((event: StoreEvent) => boolean) | undefined {
  const accept = options.accept as ((event: StoreEvent) => boolean) | undefined;
  if (options.kinds === undefined) return accept;
  const wanted = new Set<EventKind>(options.kinds);
  if (accept === undefined) return (event) => wanted.has(event.kind);
  return (event) => wanted.has(event.kind) && accept(event);
}

/** What changed from one state to another: removes, then creates and updates, in order of kinds and ids. */
export function diffRoots(before: Root, after: Root): ObjectEvent[] {
  const removed: ObjectEvent[] = [];
  const written: ObjectEvent[] = [];
  for (const kind of kinds) diffTable(kind, before, after, removed, written);
  return [...removed, ...written];
}

function diffTable(kind: Kind, before: Root, after: Root, removed: ObjectEvent[], written: ObjectEvent[]): void {
  const [was, is] = [before[tableName(kind)], after[tableName(kind)]];
  for (const object of was.find()) {
    if (is.get(object.id) === undefined) removed.push({ kind, action: "remove", object } as ObjectEvent);
  }
  for (const object of is.find()) {
    const old = was.get(object.id);
    if (old === undefined) written.push({ kind, action: "create", object } as ObjectEvent);
    else if (old.meta.version.index !== object.meta.version.index) {
      written.push({ kind, action: "update", object, old } as ObjectEvent);
    }
  }
}
