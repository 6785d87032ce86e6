import { isJob, JobStatus, Service, type ServiceSpec, UpdateStatus_UpdateState } from "@starling/api";
import type { Random } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";
import { behaviour } from "./agent.ts";
import { Specs } from "./specs.ts";

const { PAUSED, ROLLBACK_PAUSED } = UpdateStatus_UpdateState;

/** How often a spec changes: once in so many steps of the world. */
const changesEvery = 4;

/** A change that a user asks for: what it is called, and the writing of it. */
export interface Change {
  readonly what: string;
  readonly write: (store: MemoryStore) => Promise<unknown>;
}

/** Users: services are created, scaled, moved, updated and removed. */
export class Workload {
  readonly #random: Random;
  readonly #services: number;
  readonly #specs: Specs;
  #made = 0;

  constructor(options: {
    readonly random: Random;
    /** So many are there, once the first ones are made. */
    readonly services: number;
    readonly replicasMax: number;
    readonly networks: readonly string[];
  }) {
    this.#random = options.random;
    this.#services = options.services;
    this.#specs = new Specs(options);
  }

  /** Services that make about `tasks` tasks together. */
  *begin(tasks: number): Generator<Change> {
    const each = Math.floor(tasks / this.#services);
    for (let i = 0; i < this.#services; i++) yield this.#create(this.#specs.service(`s${this.#made}`, each));
  }

  /** Perhaps somebody changes something. `present` are the services as they are now. */
  step(present: readonly Service[]): Change | undefined {
    if (this.#random() * changesEvery >= 1) return undefined;
    if (present.length < this.#services) return this.#create(this.#specs.any(`s${this.#made}`));
    const { id } = present[Math.floor(this.#random() * present.length)]!;
    const what = this.#random();
    if (what < 0.1) {
      const write = (store: MemoryStore) => store.update((tx) => void (tx.services.get(id) && tx.services.delete(id)));
      return { what: `${id} is removed`, write };
    }
    if (what < 0.4) return update(id, "is scaled", (spec) => this.#specs.scaled(spec));
    if (what < 0.55) return update(id, "is placed otherwise", (spec) => this.#specs.moved(spec));
    if (what < 0.62) return update(id, "gets other ports", (spec) => this.#specs.republished(spec));
    return update(id, "is updated", (spec) => this.#specs.renewed(spec));
  }

  /** What users do at the end: services whose containers fail, or whose update has stopped, get a spec that works. */
  *mend(present: readonly Service[]): Generator<Change> {
    for (const { id, spec, updateStatus } of present) {
      const fails = Object.values(behaviour).some((label) => label in spec.annotations.labels);
      const stopped = updateStatus?.state === PAUSED || updateStatus?.state === ROLLBACK_PAUSED;
      if (fails || stopped) yield update(id, "is mended", (broken) => this.#specs.mended(broken));
    }
  }

  #create(spec: ServiceSpec): Change {
    const id = `s${this.#made++}`;
    const jobStatus = isJob(spec) ? JobStatus.create() : undefined;
    const service = Service.create({ id, spec, specVersion: { index: 0 }, jobStatus });
    const write = (store: MemoryStore) => store.update((tx) => void tx.services.create(service));
    return { what: `${id} is created`, write };
  }
}

/** As the Control API writes it. */
function update(id: string, what: string, change: (spec: ServiceSpec) => ServiceSpec): Change {
  return {
    what: `${id} ${what}`,
    write: (store) =>
      store.update((tx) => {
        const present = tx.services.get(id);
        if (present === undefined) return;
        const { jobStatus } = present;
        tx.services.update({
          ...present,
          spec: change(present.spec),
          specVersion: present.meta.version,
          previousSpec: present.spec,
          previousSpecVersion: present.specVersion,
          updateStatus: undefined,
          jobStatus: jobStatus && { ...jobStatus, jobIteration: { index: jobStatus.jobIteration.index + 1 } },
        });
      }),
  };
}

/** Ids of all services, in the order of their making. */
export function servicesOf(store: MemoryStore): readonly Service[] {
  return store.view((tx) => tx.services.find(all));
}
