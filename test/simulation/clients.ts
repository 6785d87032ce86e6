import { Annotations, Service, ServiceSpec, Task } from "@starling/api";
import type { MemoryStore } from "@starling/store";
import type { Chance } from "./chance.ts";
import type { Checkers } from "./checkers/index.ts";
import { registerOf } from "./checkers/state.ts";
import type { Host } from "./host.ts";
import type { Trace } from "./trace.ts";

const keys = ["k0", "k1", "k2", "k3"];
const tasksMax = 8;

/** Those who read and write through the hosts: registers (services), and tasks that come and go. */
export class Clients {
  readonly #chance: Chance;
  readonly #checkers: Checkers;
  readonly #trace: Trace;
  #ids = 0;

  constructor(chance: Chance, checkers: Checkers, trace: Trace) {
    this.#chance = chance;
    this.#checkers = checkers;
    this.#trace = trace;
  }

  /** One request to one of `hosts`. */
  act(hosts: readonly Host[]): void {
    const up = hosts.filter(({ state }) => state === "up");
    const leaders = up.filter(({ leads }) => leads);
    const [leader, any] = [this.#chance.pick(leaders), this.#chance.pick(up)];
    if (leader !== undefined && this.#chance.happens(0.15)) void this.#clear(leader.store!);
    else if (leader !== undefined && this.#chance.happens(0.6)) {
      // Often several at once: they are in flight together, each on top of the one before.
      for (let left = 1 + this.#chance.below(3); left > 0; left--) void this.#write(leader, leader.store!);
    } else if (any !== undefined) void this.#read(any, any.store!);
  }

  async #write(host: Host, store: MemoryStore): Promise<void> {
    const { history } = this.#checkers;
    const id = `w${this.#ids++}`;
    const key = this.#chance.pick(keys)!;
    const [grow, bytes] = [this.#chance.happens(0.5), this.#chance.happens(0.1) ? 3_000 : 0];
    let write: ReturnType<typeof history.writeBegins> | undefined;
    try {
      await store.update((tx) => {
        const old = tx.services.get(key);
        write = history.writeBegins(id, key, old === undefined ? "" : registerOf(old));
        const labels = { value: id, ballast: "x".repeat(bytes) };
        const spec = ServiceSpec.create({ annotations: Annotations.create({ name: key, labels }) });
        if (old === undefined) tx.services.create(Service.create({ id: key, spec }));
        else tx.services.update({ ...old, spec });
        const tasks = tx.tasks.find();
        if (grow && tasks.length < tasksMax) tx.tasks.create(Task.create({ id: `t${id}` }));
        else if (tasks.length > 0) tx.tasks.delete(tasks[0]!.id);
      });
    } catch {
      // Refused, or its outcome is unknown: the history allows both.
      return;
    }
    history.writeEnds(write!, host.name);
    this.#trace.note(host.name, "acknowledged", { id, key });
  }

  /** A transaction that leaves nothing behind which bears its version. */
  async #clear(store: MemoryStore): Promise<void> {
    try {
      await store.update((tx) => {
        for (const { id } of tx.tasks.find().slice(0, 2)) tx.tasks.delete(id);
      });
    } catch {
      // As for a write.
    }
  }

  async #read(host: Host, store: MemoryStore): Promise<void> {
    const { history } = this.#checkers;
    const key = this.#chance.pick(keys)!;
    const read = history.readBegins(key);
    const { process } = host;
    let value: string;
    try {
      const service = await store.read((tx) => tx.services.get(key));
      value = service === undefined ? "" : registerOf(service);
    } catch {
      return;
    }
    // Nobody hears what a dead process has to say.
    if (!process!.alive) return;
    history.readEnds(read, value, host.name);
    this.#trace.note(host.name, "read", { key, value });
  }
}
