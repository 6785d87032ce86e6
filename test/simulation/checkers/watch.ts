import type { MemoryStore, ObjectEvent, StoreEvent } from "@starling/store";
import type { Fail } from "./index.ts";
import { difference, objectText, storeText } from "./state.ts";

/**
 * Follows a store by its events alone: each must fit what came before, versions rise, all watchers of all replicas see
 * the same events at the same version, and what they add up to is what the store holds.
 */
export class WatchChecker {
  readonly #fail: Fail;
  readonly #name: string;
  readonly #store: MemoryStore;
  readonly #told: Map<number, string>;
  readonly #services = new Map<string, string>();
  readonly #tasks = new Map<string, string>();
  readonly #stop = new AbortController();
  #version = 0;
  /** Events of the commit under way. */
  #events: string[] = [];
  /** The store is being replaced by a snapshot: one commit tells the difference. */
  restoring = false;
  readonly #fromSnapshot: boolean[] = [];

  /** `told` holds the events of each version, for all watchers of a run. */
  constructor(options: {
    readonly fail: Fail;
    readonly name: string;
    readonly store: MemoryStore;
    readonly told: Map<number, string>;
    /** A mutant's: loses the events that it returns true for. */
    readonly loses?: ((event: StoreEvent) => boolean) | undefined;
  }) {
    this.#fail = options.fail;
    this.#name = options.name;
    this.#store = options.store;
    this.#told = options.told;
    void this.#follow(options.loses ?? (() => false));
  }

  close(): void {
    this.#stop.abort();
  }

  /** To be called when nothing is under way: the watcher has seen everything. */
  compare(): void {
    const text = storeText(this.#store);
    const seen = [...inOrder(this.#services), ...inOrder(this.#tasks)].join(" ");
    if (seen !== text)
      this.#fail(`watcher of ${this.#name} disagrees with its store: it has ${difference(seen, text)}`);
  }

  async #follow(loses: (event: StoreEvent) => boolean): Promise<void> {
    const accept = (event: StoreEvent) => {
      if (event.kind === "commit") this.#fromSnapshot.push(this.restoring);
      return !loses(event);
    };
    for await (const event of this.#store.watch({ accept, signal: this.#stop.signal })) {
      if ("version" in event) this.#commit(event.version);
      else this.#change(event);
    }
  }

  #change(event: ObjectEvent): void {
    const { kind, action, object } = event;
    if (kind !== "service" && kind !== "task") return;
    const table = kind === "service" ? this.#services : this.#tasks;
    const known = table.get(object.id);
    if ((action === "create") !== (known === undefined)) {
      this.#fail(`watcher of ${this.#name}: ${action} of ${kind} ${object.id}, which it knows as ${known}`);
    }
    if (action === "remove") table.delete(object.id);
    else table.set(object.id, objectText(object));
    this.#events.push(`${action} ${objectText(object)}`);
  }

  #commit(version: number): void {
    const fromSnapshot = this.#fromSnapshot.shift() === true;
    const events = this.#events.join(", ");
    this.#events = [];
    if (version < this.#version || (version === this.#version && !fromSnapshot)) {
      this.#fail(`watcher of ${this.#name}: version ${version} comes after ${this.#version}`);
    }
    this.#version = version;
    if (fromSnapshot) return;
    const known = this.#told.get(version) ?? events;
    this.#told.set(version, known);
    if (known !== events) this.#fail(`watcher of ${this.#name} sees [${events}] at ${version}, others saw [${known}]`);
  }
}

function inOrder(table: ReadonlyMap<string, string>): string[] {
  return [...table.keys()].sort().map((id) => table.get(id)!);
}
