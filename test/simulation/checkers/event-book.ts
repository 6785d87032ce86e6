import type { MemoryStore, ObjectEvent, StoreObject } from "@starling/store";
import type { Fail } from "./index.ts";
import { difference, objectText, storeText } from "./state.ts";

/**
 * What a watcher has learned: each event must fit what came before, versions rise, and all watchers of all replicas are
 * told the same events at the same version.
 */
export class EventBook {
  readonly #fail: Fail;
  readonly #who: string;
  readonly #told: Map<number, string>;
  readonly #services = new Map<string, string>();
  readonly #tasks = new Map<string, string>();
  /** Events of the commit under way. */
  #events: string[] = [];
  /** Of the last commit; undefined before the first. */
  version: number | undefined;

  /** `told` holds the events of each version, for all watchers of a run. */
  constructor(fail: Fail, who: string, told: Map<number, string>) {
    this.#fail = fail;
    this.#who = who;
    this.#told = told;
  }

  /** Begins with what is there at `version`. */
  begin(
    objects: { readonly services: readonly StoreObject[]; readonly tasks: readonly StoreObject[] },
    version: number,
  ) {
    this.#services.clear();
    this.#tasks.clear();
    for (const object of objects.services) this.#services.set(object.id, objectText(object));
    for (const object of objects.tasks) this.#tasks.set(object.id, objectText(object));
    this.#events = [];
    this.version = version;
  }

  change({ kind, action, object }: ObjectEvent): void {
    if (kind !== "service" && kind !== "task") return;
    const table = kind === "service" ? this.#services : this.#tasks;
    const known = table.get(object.id);
    if ((action === "create") !== (known === undefined)) {
      this.#fail(`${this.#who}: ${action} of ${kind} ${object.id}, which it knows as ${known}`);
    }
    if (action === "remove") table.delete(object.id);
    else table.set(object.id, objectText(object));
    this.#events.push(`${action} ${objectText(object)}`);
  }

  /** With `fromSnapshot` the events are the difference to a state that a snapshot brought, in one commit. */
  commit(version: number, fromSnapshot: boolean): void {
    const events = this.#events.join(", ");
    this.#events = [];
    const last = this.version ?? 0;
    if (version < last || (version === last && !fromSnapshot)) {
      this.#fail(`${this.#who}: version ${version} comes after ${last}`);
    }
    this.version = version;
    if (fromSnapshot) return;
    const known = this.#told.get(version) ?? events;
    this.#told.set(version, known);
    if (known !== events) this.#fail(`${this.#who} sees [${events}] at ${version}, others saw [${known}]`);
  }

  /** To be called when nothing is under way: everything that `store` holds is known. */
  compare(store: MemoryStore): void {
    const text = storeText(store);
    const seen = [...inOrder(this.#services), ...inOrder(this.#tasks)].join(" ");
    if (seen !== text) this.#fail(`${this.#who} disagrees with the store it follows: it has ${difference(seen, text)}`);
  }
}

function inOrder(table: ReadonlyMap<string, string>): string[] {
  return [...table.keys()].sort().map((id) => table.get(id)!);
}
