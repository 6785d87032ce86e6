import type { Node, Service, Task } from "@starling/api";
import type { Watcher } from "@starling/base";
import type { MemoryStore, StoreEvent } from "@starling/store";

interface Objects {
  readonly task: Task;
  readonly service: Service;
  readonly node: Node;
}

/** What a loop is told, and what becomes of what it writes. */
export interface Lie {
  /** Objects as its views and its events show them; its transactions see the truth. */
  readonly shows?: { readonly [K in keyof Objects]?: (object: Objects[K]) => Objects[K] };
  /** Events that it never gets. */
  readonly loses?: (event: StoreEvent) => boolean;
  /** Tasks that it writes; undefined when nothing is written. */
  readonly writes?: (task: Task, how: "create" | "update") => Task | undefined;
  /** What it deletes stays. */
  readonly keeps?: boolean;
}

/** The store as a loop sees it that is lied to. */
export function lyingStore(store: MemoryStore, lie: Lie): MemoryStore {
  const shown = (tx: object) => shownTx(tx, lie);
  const written = (tx: object) => writtenTx(tx, lie);
  const instead: Record<string, unknown> = {
    view: (read: (tx: unknown) => unknown) => store.view((tx) => read(shown(tx))),
    update: (write: (tx: unknown) => unknown) => store.update((tx) => write(written(tx))),
    batch: (items: Iterable<unknown>, write: (tx: unknown, item: unknown) => void) =>
      store.batch(items, (tx, item) => write(written(tx), item)),
    watch: (options: object) => toldEvents(store.watch(options), lie),
    viewAndWatch: (read: (tx: unknown) => unknown, options: object) => {
      const { value, events } = store.viewAndWatch((tx) => read(shown(tx)), options);
      return { value, events: toldEvents(events, lie) };
    },
  };
  return new Proxy(store, { get: (target, name) => instead[name as string] ?? bound(target, name) });
}

function bound(target: object, name: PropertyKey): unknown {
  const value = Reflect.get(target, name, target) as unknown;
  return typeof value === "function" ? value.bind(target) : value;
}

function shownTx(tx: object, { shows = {} }: Lie): object {
  return new Proxy(tx, {
    get: (target, name) => {
      const show = shows[String(name).slice(0, -1) as keyof Objects] as ((object: unknown) => unknown) | undefined;
      const table = bound(target, name);
      return show === undefined ? table : shownTable(table as object, show);
    },
  });
}

function shownTable(table: object, show: (object: unknown) => unknown): object {
  const call = (name: string, args: unknown[]) => (bound(table, name) as (...args: unknown[]) => unknown)(...args);
  const instead: Record<string, unknown> = {
    get: (id: string) => {
      const object = call("get", [id]);
      return object && show(object);
    },
    find: (...by: unknown[]) => (call("find", by) as unknown[]).map(show),
    *each(...by: unknown[]) {
      for (const object of call("each", by) as Iterable<unknown>) yield show(object);
    },
  };
  return new Proxy(table, { get: (target, name) => instead[name as string] ?? bound(target, name) });
}

function writtenTx(tx: object, { writes, keeps = false }: Lie): object {
  if (writes === undefined && !keeps) return tx;
  return new Proxy(tx, {
    get: (target, name) => {
      const table = bound(target, name) as { create(task: Task): Task; update(task: Task): Task };
      if (name !== "tasks") return table;
      const write = (how: "create" | "update") => (task: Task) => {
        const changed = writes === undefined ? task : writes(task, how);
        return changed === undefined ? task : table[how](changed);
      };
      const instead: Record<string, unknown> = { create: write("create"), update: write("update") };
      if (keeps) instead["delete"] = () => undefined;
      return new Proxy(table, { get: (inner, key) => instead[key as string] ?? bound(inner, key) });
    },
  });
}

function toldEvents(events: Watcher<StoreEvent>, lie: Lie): Watcher<StoreEvent> {
  return {
    close: () => events.close(),
    async *[Symbol.asyncIterator]() {
      for await (const event of events) yield* told(event, lie);
    },
    async *batches() {
      for await (const batch of events.batches()) {
        const left = batch.flatMap((event) => [...told(event, lie)]);
        if (left.length > 0) yield left;
      }
    },
  };
}

/** The event as it is told, unless it is lost. */
function* told(event: StoreEvent, { shows = {}, loses }: Lie): Generator<StoreEvent> {
  if (loses?.(event)) return;
  const show = event.kind === "commit" ? undefined : (shows[event.kind as keyof Objects] as (o: unknown) => unknown);
  if (event.kind === "commit" || show === undefined) {
    yield event;
    return;
  }
  const { object, old } = event;
  yield { ...event, object: show(object), ...(old && { old: show(old) }) } as StoreEvent;
}
