import {
  addressPools,
  type Cluster,
  isIngressNetwork,
  type Network,
  NetworkAttachment,
  type Node,
  parentNetwork,
  pendingMessage,
  poolSubnetSize,
  type Service,
  type Task,
  type TaskState,
  TaskState as TaskStates,
  timestampOfMs,
} from "@starling/api";
import { type Clock, inSteps, type Logger, type Steps } from "@starling/base";
import { all, type MemoryStore, type ReadTx, type StoreEvent, type WriteTx } from "@starling/store";
import { allocateNetwork } from "./allocate-network.ts";
import { allocateService, isAllocatedService, type Networks, networksOf } from "./allocate-service.ts";
import { allocateTask, isWaitingTask } from "./allocate-task.ts";
import { holdsAddresses, isAllocatedNetwork, isRefusal, Ledger } from "./ledger.ts";
import { type Address, parseAddressNumber, parseSubnet } from "./subnet.ts";

/**
 * One life of the allocator's knowledge: the ledger, built from a view of the store and kept up by its events, and the
 * objects that wait. When a transaction is refused the ledger holds what was never given, so the session ends and the
 * next one builds its own.
 */
export class Session {
  readonly #store: MemoryStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #ledger = new Ledger();
  /** Ids to look at in the next pass. */
  readonly #due = {
    networks: new Set<string>(),
    services: new Set<string>(),
    nodes: new Set<string>(),
    tasks: new Set<string>(),
  };
  /** Ids that could not be had, tried again when something is freed or made. */
  readonly #stuck = { networks: new Set<string>(), services: new Set<string>(), tasks: new Set<string>() };
  /** Why, by id of network or service. */
  readonly #reasons = new Map<string, string>();
  readonly #nodeAddresses = new Map<string, Address[]>();

  constructor(options: { readonly store: MemoryStore; readonly clock: Clock; readonly log: Logger }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Learns what is given out and what waits. */
  *load(tx: ReadTx): Steps<void> {
    for (const cluster of tx.clusters.find(all)) this.#setPools(cluster);
    for (const network of tx.networks.find(all)) this.#noteNetwork(network);
    yield* inSteps(tx.nodes.each(), (node) => {
      this.#warnDoubled(this.#ledger.claimNode(node), { "node.id": node.id });
      this.#noteNode(node);
    });
    yield* inSteps(tx.services.each(), (service) => {
      this.#warnDoubled(this.#ledger.claimService(service), { "service.id": service.id });
      this.#due.services.add(service.id);
    });
    yield* inSteps(tx.tasks.each(), (task) => {
      this.#warnDoubled(this.#ledger.claimTask(task), { "task.id": task.id });
      if (isWaitingTask(task)) this.#due.tasks.add(task.id);
    });
  }

  /** Takes in a committed change. */
  note(event: StoreEvent): void {
    switch (event.kind) {
      case "cluster":
        if (event.action !== "remove") this.#setPools(event.object);
        this.#retryStuck();
        break;
      case "network":
        if (event.action === "remove") this.#forgetNetwork(event.object);
        else this.#noteNetwork(event.object);
        break;
      case "node":
        if (event.action === "remove") this.#forgetNode(event.object);
        else this.#noteNode(event.object);
        break;
      case "service":
        if (event.action === "remove") this.#forgetService(event.object);
        else if (event.old?.spec !== event.object.spec) this.#due.services.add(event.object.id);
        break;
      case "task":
        this.#noteTask(event.action, event.object, event.old);
    }
  }

  get idle(): boolean {
    return Object.values(this.#due).every((ids) => ids.size === 0);
  }

  /** Allocates what is due, resolving when it is committed. Rejects when a transaction was refused: then the session is over. */
  async pass(): Promise<void> {
    const networks = take(this.#due.networks);
    const nodes = take(this.#due.nodes);
    const services = take(this.#due.services);
    const tasks = take(this.#due.tasks);
    const commits: Promise<unknown>[] = [];
    if (networks.length > 0) commits.push(this.#store.update((tx) => this.#allocateNetworks(tx, networks)));
    if (nodes.length > 0) commits.push(this.#store.batch(nodes, (tx, id) => this.#allocateNode(tx, id)));
    if (services.length > 0) commits.push(this.#store.batch(services, (tx, id) => this.#allocateService(tx, id)));
    if (tasks.length > 0) commits.push(this.#store.batch(tasks, (tx, id) => this.#allocateTask(tx, id)));
    await Promise.all(commits);
  }

  #allocateNetworks(tx: WriteTx, ids: readonly string[]): void {
    const avoid = [...this.#nodeAddresses.values()].flat();
    for (const id of ids) {
      const network = tx.networks.get(id);
      if (network === undefined || isAllocatedNetwork(network) || !isShared(network)) continue;
      const allocated = allocateNetwork(network, this.#ledger, avoid);
      if (isRefusal(allocated)) {
        this.#refuse("networks", id, allocated.refused);
        continue;
      }
      this.#reasons.delete(id);
      tx.networks.update(allocated);
      if (isIngressNetwork(allocated)) this.#allNodesDue();
      this.#retryStuck();
    }
  }

  /** Every node has an address on the ingress network: it numbers the node in the mesh and is the host's own there. */
  #allocateNode(tx: WriteTx, id: string): void {
    const node = tx.nodes.get(id);
    if (node === undefined) return;
    const ingress = networksIn(tx).ingress;
    const usable = ingress !== undefined && isAllocatedNetwork(ingress) ? ingress : undefined;
    const known = node.attachments.filter((attachment) => attachment.network?.id === usable?.id);
    if (usable !== undefined && known.length === 0) {
      const addresses = this.#ledger.takeAddresses(usable);
      if (isRefusal(addresses)) {
        this.#log.warn("node has no address on the ingress network", { "node.id": id, reason: addresses.refused });
        return;
      }
      known.push(NetworkAttachment.create({ network: usable, addresses }));
    }
    if (known.length !== node.attachments.length || !known.every((one) => node.attachments.includes(one))) {
      tx.nodes.update({ ...node, attachments: known });
    }
  }

  #allocateService(tx: WriteTx, id: string): void {
    const service = tx.services.get(id);
    const networks = networksIn(tx);
    if (service === undefined || isAllocatedService(service, networks)) return;
    const allocated = allocateService(service, networks, this.#ledger);
    if (isRefusal(allocated)) {
      this.#refuse("services", id, this.#networkReason(networksOf(service.spec)) ?? allocated.refused);
      return;
    }
    this.#reasons.delete(id);
    tx.services.update(allocated);
    this.#retryStuck();
  }

  #allocateTask(tx: WriteTx, id: string): void {
    const task = tx.tasks.get(id);
    if (task === undefined || !isWaitingTask(task)) return;
    const service = task.serviceId === "" ? undefined : tx.services.get(task.serviceId);
    if (task.serviceId !== "" && service === undefined) return;
    const networks = networksIn(tx);
    if (service !== undefined && !isAllocatedService(service, networks)) {
      this.#explain(tx, task, this.#reasons.get(service.id) ?? "");
      return;
    }
    const allocated = allocateTask(task, service, networks, this.#ledger);
    if (isRefusal(allocated)) {
      const named = task.spec.networks.map((config) => config.target);
      this.#explain(tx, task, this.#networkReason(named) ?? allocated.refused);
      return;
    }
    tx.tasks.update({ ...allocated, status: this.#status(task, TaskStates.PENDING, pendingMessage, "") });
  }

  /** A network's own reason says more than that it isn't allocated. */
  #networkReason(ids: readonly string[]): string | undefined {
    return ids.map((id) => this.#reasons.get(id)).find((reason) => reason !== undefined);
  }

  #explain(tx: WriteTx, task: Task, reason: string): void {
    this.#stuck.tasks.add(task.id);
    if (task.status.err === reason) return;
    tx.tasks.update({ ...task, status: this.#status(task, task.status.state, task.status.message, reason) });
  }

  #status(task: Task, state: TaskState, message: string, err: string): Task["status"] {
    return { ...task.status, state, message, err, timestamp: timestampOfMs(this.#clock.now()) };
  }

  #refuse(kind: "networks" | "services", id: string, reason: string): void {
    this.#stuck[kind].add(id);
    if (this.#reasons.get(id) === reason) return;
    this.#reasons.set(id, reason);
    this.#log.warn("not allocated", { [kind === "networks" ? "network.id" : "service.id"]: id, reason });
    // Tasks show the reason, also those that were refused for another one.
    for (const task of take(this.#stuck.tasks)) this.#due.tasks.add(task);
  }

  #noteNetwork(network: Network): void {
    this.#ledger.addNetwork(network);
    if (!isAllocatedNetwork(network) && isShared(network)) this.#due.networks.add(network.id);
    else if (isIngressNetwork(network)) this.#allNodesDue();
  }

  #noteNode(node: Node): void {
    const address = parseAddressNumber(node.status.addr);
    this.#setAddresses(node.id, address === undefined ? [] : [address]);
    if (node.attachments.length === 0) this.#due.nodes.add(node.id);
  }

  /** Undefined for a node that is gone. */
  #setAddresses(nodeId: string, addresses: Address[] | undefined): void {
    for (const address of this.#nodeAddresses.get(nodeId) ?? []) this.#ledger.removeHost(address);
    for (const address of addresses ?? []) this.#ledger.addHost(address);
    if (addresses === undefined) this.#nodeAddresses.delete(nodeId);
    else this.#nodeAddresses.set(nodeId, addresses);
  }

  #noteTask(action: "create" | "update" | "remove", task: Task, old: Task | undefined): void {
    const held =
      action === "remove" ? holdsAddresses(task) : old !== undefined && holdsAddresses(old) && !holdsAddresses(task);
    if (held) {
      this.#ledger.freeTask(task);
      this.#retryStuck();
    }
    if (action === "remove") this.#stuck.tasks.delete(task.id);
    else if (action === "create" && isWaitingTask(task)) this.#due.tasks.add(task.id);
  }

  #forgetNetwork(network: Network): void {
    this.#ledger.removeNetwork(network);
    this.#reasons.delete(network.id);
    if (isIngressNetwork(network)) this.#allNodesDue();
    this.#retryStuck();
  }

  #forgetNode(node: Node): void {
    this.#setAddresses(node.id, undefined);
    this.#ledger.freeNode(node);
    this.#retryStuck();
  }

  #forgetService(service: Service): void {
    this.#ledger.freeService(service);
    this.#reasons.delete(service.id);
    this.#retryStuck();
  }

  #allNodesDue(): void {
    for (const id of this.#nodeAddresses.keys()) this.#due.nodes.add(id);
  }

  #retryStuck(): void {
    for (const kind of ["networks", "services", "tasks"] as const) {
      for (const id of take(this.#stuck[kind])) this.#due[kind].add(id);
    }
  }

  #setPools(cluster: Cluster): void {
    this.#ledger.pools = addressPools(cluster).flatMap((pool) => parseSubnet(pool) ?? []);
    this.#ledger.subnetSize = poolSubnetSize(cluster);
  }

  #warnDoubled(addresses: readonly string[], owner: Readonly<Record<string, string>>): void {
    if (addresses.length > 0) this.#log.error("address has two owners", { addresses: addresses.join(" "), ...owner });
  }
}

function take(ids: Set<string>): readonly string[] {
  const taken = [...ids];
  ids.clear();
  return taken;
}

/** Whether the network is the allocator's to give addresses of. */
const isShared = (network: Network): boolean =>
  ["", "overlay"].includes(network.spec.driverConfig?.name ?? "") || parentNetwork(network) !== undefined;

/** The networks of a transaction; the ingress one is looked for when it is first asked for. */
function networksIn(tx: ReadTx | WriteTx): Networks {
  return {
    get: (id) => tx.networks.get(id),
    get ingress() {
      for (const network of tx.networks.find(all)) if (isIngressNetwork(network)) return network;
      return undefined;
    },
  };
}
