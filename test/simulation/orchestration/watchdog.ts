import { PortConfig_PublishMode, type Service, type Task, timestampMs, UpdateConfig_UpdateOrder } from "@starling/api";
import { byService, type MemoryStore, type StoreEvent } from "@starling/store";
import type { ContainerListener, SimHost } from "./agent.ts";
import { describe } from "./oracle.ts";
import { UpdateWatch } from "./update-watch.ts";

/** A service whose every change goes into the trace. */
const told = process.env["SIM_SERVICE"];
/** Hosts that nothing struck for this long are what managers believe them to be. */
const calmMs = 150_000;

/**
 * What must hold at any time, checked as it happens: by every commit, and by every container that starts.
 * - a desired state never goes back, nor does a state;
 * - no slot runs twice on hosts in order, unless its order is start-first (then once for each spec under way);
 * - an update works on no more slots at once than its parallelism says;
 * - no address is two containers', no host port two containers' of one host, no memory reserved twice.
 */
export class Watchdog {
  readonly #store: MemoryStore;
  readonly #now: () => number;
  readonly #updates: UpdateWatch;
  /** Containers by slot, by address, by host port. */
  readonly #bySlot = new Map<string, Map<Task, SimHost>>();
  readonly #byThing = new Map<string, Map<Task, SimHost>>();
  readonly #reserved = new Map<SimHost, number>();
  readonly violations: string[] = [];
  /** Commits that were looked at. */
  commits = 0;
  /** Tasks that were ever created. */
  tasksMade = 0;

  readonly #note: (what: string) => void;

  constructor(options: {
    readonly store: MemoryStore;
    readonly now: () => number;
    /** Takes what is told of the service that SIM_SERVICE names. */
    readonly note: (what: string) => void;
  }) {
    this.#note = options.note;
    this.#store = options.store;
    this.#now = options.now;
    this.#updates = new UpdateWatch();
  }

  /** Looks at every commit until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let changes: StoreEvent[] = [];
    for await (const event of this.#store.watch({ signal })) {
      if (event.kind !== "commit") {
        changes.push(event);
        continue;
      }
      this.commits++;
      for (const change of changes) this.#backwards(change);
      this.violations.push(...this.#updates.commit(changes));
      changes = [];
    }
  }

  readonly onContainer: ContainerListener = (what, host, task) => {
    const things = [...addressesOf(task), ...hostPortsOf(task).map((port) => `${host.id} port ${port}`)];
    const memory = task.spec.resources?.reservations?.memoryBytes ?? 0;
    const sign = what === "started" ? 1 : -1;
    this.#reserved.set(host, (this.#reserved.get(host) ?? 0) + sign * memory);
    for (const thing of things) change(this.#byThing, thing, what, host, task);
    const slot = slotOf(task);
    change(this.#bySlot, slot, what, host, task);
    if (what === "gone") return;
    this.#doubled(slot);
    for (const thing of things) this.#shared(thing);
    if (memory > 0 && this.#reserved.get(host)! > host.memoryBytes)
      this.violations.push(`${host.id}: containers reserve ${this.#reserved.get(host)} of ${host.memoryBytes} bytes`);
  };

  #backwards(event: StoreEvent): void {
    if (event.kind === "task" && event.action === "create") this.tasksMade++;
    if (told !== undefined) this.#tell(event);
    if (event.kind !== "task" || event.action !== "update") return;
    const { object, old = object } = event;
    if (object.desiredState < old.desiredState) this.violations.push(`desired state goes back: ${describe(object)}`);
    if (object.status.state < old.status.state) this.violations.push(`state goes back: ${describe(object)}`);
    if (old.nodeId !== "" && object.nodeId !== old.nodeId) this.violations.push(`task moves: ${describe(object)}`);
  }

  #tell(event: StoreEvent): void {
    if (event.kind === "commit") return;
    const { kind, action, object } = event;
    if (kind === "task" && object.serviceId === told) {
      this.#note(`  ${action} v${specOf(object)} ${describe(object)} ${object.status.message}`);
    }
    if (kind === "service" && object.id === told) {
      const { specVersion, updateStatus, spec } = object;
      const { parallelism, order } = spec.update ?? {};
      this.#note(
        `  ${action} ${told} v${specVersion?.index} ${updateStatus?.message} parallelism ${parallelism} order ${order}`,
      );
    }
  }

  #calm(host: SimHost): boolean {
    return this.#now() - host.troubledAt >= calmMs;
  }

  #doubled(slot: string): void {
    const running = [...this.#bySlot.get(slot)!].filter(([, host]) => this.#calm(host)).map(([task]) => task);
    if (running.length < 2) return;
    const service = this.#store.view((tx) => tx.services.get(running[0]!.serviceId));
    // A job's new iteration begins while the old one stops.
    if (service === undefined || service.jobStatus !== undefined) return;
    if (isStartFirst(service) && running.length <= 1 + new Set(running.map(specOf)).size) return;
    this.violations.push(
      `${slot} runs ${running.length} times at ${this.#seconds()}:\n${running.map((task) => this.#history(task)).join("\n")}`,
    );
  }

  #shared(thing: string): void {
    // What a lost host still runs is given to others in the end.
    const users = [...this.#byThing.get(thing)!].filter(([, host]) => this.#calm(host));
    if (users.length < 2) return;
    const who = users.map(([task]) => this.#history(task));
    this.violations.push(`${thing} is in use ${users.length} times at ${this.#seconds()}:\n${who.join("\n")}`);
  }

  #seconds(): string {
    return `${((this.#now() - 1.7e12) / 1000).toFixed(2)} s`;
  }

  /** A task with what the store knows of its slot, oldest first. */
  #history({ id, slot, serviceId, nodeId }: Task): string {
    const { service, tasks } = this.#store.view((tx) => ({
      service: tx.services.get(serviceId),
      tasks: tx.tasks.find(byService(serviceId)),
    }));
    const lines = tasks
      .filter((task) => task.slot === slot && (slot > 0 || task.nodeId === nodeId))
      .sort((a, b) => createdMs(a) - createdMs(b))
      .map((task) => `  ${((createdMs(task) - 1.7e12) / 1000).toFixed(2)} v${specOf(task)} ${describe(task)}`);
    return [`${id} (service at v${service?.specVersion?.index}, ${service?.updateStatus?.message})`, ...lines].join(
      "\n",
    );
  }
}

function change(
  index: Map<string, Map<Task, SimHost>>,
  key: string,
  what: "started" | "gone",
  host: SimHost,
  task: Task,
): void {
  const tasks = index.get(key) ?? new Map<Task, SimHost>();
  if (what === "started") index.set(key, tasks.set(task, host));
  else if (tasks.delete(task) && tasks.size === 0) index.delete(key);
}

function slotOf(task: Task): string {
  return `${task.serviceId}.${task.slot || task.nodeId}`;
}

function specOf(task: Task): number {
  return task.specVersion?.index ?? 0;
}

function createdMs({ meta }: Task): number {
  return meta.createdAt ? timestampMs(meta.createdAt) : 0;
}

function isStartFirst({ spec }: Service): boolean {
  return spec.update?.order === UpdateConfig_UpdateOrder.START_FIRST;
}

export function addressesOf(task: Task): readonly string[] {
  return task.networks.flatMap(({ network, addresses }) => addresses.map((address) => `${network?.id} ${address}`));
}

export function hostPortsOf(task: Task): readonly number[] {
  const ports = task.endpoint?.ports ?? [];
  return ports
    .filter(({ publishMode }) => publishMode === PortConfig_PublishMode.HOST)
    .map(({ publishedPort }) => publishedPort);
}
