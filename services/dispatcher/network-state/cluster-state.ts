/** Pure: no clock, no I/O, no randomness. */
import {
  isForeignNode,
  isStopRequested,
  NetworkStateChange,
  NetworkStateChange_Action,
  type NetworkStateEndpoint,
  type NetworkStateNetwork,
  type NetworkStateNode,
  type Service,
  sameValue,
  type Task,
} from "@starling/api";
import type { StoreEvent } from "@starling/store";
import { projectNetwork, projectNode, projectService, projectTask } from "./project.ts";

/** Names one item of the state: `network/ID`, `node/ID`, `service/ID`, `endpoint/NETWORK/TASK`. */
export type ItemKey = string;
/** An item as a change that says it is there. */
export type Item = NetworkStateChange;

/**
 * The whole cluster's network state, kept up by the store's events, and each node's view of it. `note` says what changed;
 * costs grow with that.
 */
export class ClusterState {
  readonly #networks = new Map<string, NetworkStateNetwork>();
  readonly #nodes = new Map<string, NetworkStateNode>();
  readonly #services = new Map<string, Service>();
  readonly #servicesByNetwork = new Index();
  readonly #endpoints = new Map<ItemKey, NetworkStateEndpoint>();
  readonly #endpointsByTask = new Index();
  readonly #endpointsByNetwork = new Index();
  /** Endpoints per node and network. */
  readonly #endpointsByNode = new Map<string, Map<string, number>>();
  /** Tasks by id that their nodes took out of service, although their state doesn't show it. */
  readonly #leaving = new Set<string>();
  /** Endpoints of tasks that will stop, and those that came to this since `takeStopping`. */
  readonly #stopping = new Set<ItemKey>();
  #newlyStopping: ItemKey[] = [];

  /** Takes in a change of the store; `changed` gets the keys of items that may look different now. */
  note(event: Exclude<StoreEvent, { kind: "commit" }>, changed: Set<ItemKey>): void {
    const gone = event.action === "remove";
    if (event.kind === "network") {
      const item = gone ? undefined : projectNetwork(event.object);
      if (put(this.#networks, event.object.id, item)) changed.add(`network/${event.object.id}`);
    } else if (event.kind === "node") {
      const item = gone || isForeignNode(event.object.description) ? undefined : projectNode(event.object);
      if (put(this.#nodes, event.object.id, item)) changed.add(`node/${event.object.id}`);
    } else if (event.kind === "service") {
      this.#noteService(event.object, gone);
      changed.add(`service/${event.object.id}`);
    } else if (event.kind === "task") {
      this.#noteTask(event.object, gone, changed);
    }
  }

  #noteService(service: Service, gone: boolean): void {
    const key = `service/${service.id}`;
    this.#servicesByNetwork.removeAll(key);
    if (gone) {
      this.#services.delete(service.id);
      return;
    }
    this.#services.set(service.id, service);
    for (const { target } of [...service.spec.task.networks, ...service.spec.networks])
      this.#servicesByNetwork.add(target, key);
  }

  /** A node says that a task of its own takes no new connections from now on. */
  noteLeaving(nodeId: string, taskId: string, changed: Set<ItemKey>): void {
    const keys = [...this.#endpointsByTask.of(taskId)];
    const endpoint = keys[0] === undefined ? undefined : this.#endpoints.get(keys[0]);
    if (endpoint === undefined || endpoint.nodeId !== nodeId || this.#leaving.has(taskId)) return;
    this.#leaving.add(taskId);
    for (const key of keys) {
      this.#endpoints.set(key, { ...this.#endpoints.get(key)!, serving: false });
      this.#noteStopping(key);
      changed.add(key);
    }
  }

  /** Endpoints of tasks that will stop, since the last call. */
  takeStopping(): readonly ItemKey[] {
    return this.#newlyStopping.splice(0);
  }

  isStopping(key: ItemKey): boolean {
    return this.#stopping.has(key);
  }

  get stopping(): Iterable<ItemKey> {
    return this.#stopping;
  }

  /** Network and node of an endpoint. */
  endpoint(key: ItemKey): NetworkStateEndpoint | undefined {
    return this.#endpoints.get(key);
  }

  #noteStopping(key: ItemKey): void {
    if (this.#stopping.has(key)) return;
    this.#stopping.add(key);
    this.#newlyStopping.push(key);
  }

  #noteTask(task: Task, gone: boolean, changed: Set<ItemKey>): void {
    const leaving = this.#leaving.has(task.id);
    const items = (gone ? [] : projectTask(task)).map((item) => (leaving ? { ...item, serving: false } : item));
    if (items.length === 0) this.#leaving.delete(task.id);
    const keys = new Set(items.map((item) => `endpoint/${item.networkId}/${item.taskId}`));
    for (const key of [...this.#endpointsByTask.of(task.id)]) {
      if (keys.has(key)) continue;
      this.#dropEndpoint(key);
      this.#stopping.delete(key);
      changed.add(key);
    }
    for (const item of items) {
      const key = `endpoint/${item.networkId}/${item.taskId}`;
      const old = this.#endpoints.get(key);
      if (leaving || isStopRequested(task)) this.#noteStopping(key);
      if (old !== undefined && sameValue(old, item)) continue;
      if (old !== undefined) this.#dropEndpoint(key);
      this.#endpoints.set(key, item);
      this.#endpointsByTask.add(task.id, key);
      this.#endpointsByNetwork.add(item.networkId, key);
      this.#count(item, 1);
      changed.add(key);
    }
  }

  #dropEndpoint(key: ItemKey): void {
    const item = this.#endpoints.get(key);
    if (item === undefined) return;
    this.#endpoints.delete(key);
    this.#endpointsByTask.remove(item.taskId, key);
    this.#endpointsByNetwork.remove(item.networkId, key);
    this.#count(item, -1);
  }

  #count({ nodeId, networkId }: NetworkStateEndpoint, by: number): void {
    const counts = this.#endpointsByNode.get(nodeId) ?? new Map<string, number>();
    const count = (counts.get(networkId) ?? 0) + by;
    if (count > 0) counts.set(networkId, count);
    else counts.delete(networkId);
    if (counts.size > 0) this.#endpointsByNode.set(nodeId, counts);
    else this.#endpointsByNode.delete(nodeId);
  }

  /** Networks that concern the node: those its tasks are on, and ingress. */
  networksOf(nodeId: string): ReadonlySet<string> {
    const seen = new Set(this.#endpointsByNode.get(nodeId)?.keys());
    for (const network of this.#networks.values()) if (network.ingress) seen.add(network.id);
    return seen;
  }

  /** Keys of all that hangs on a network. */
  keysOfNetwork(networkId: string): readonly ItemKey[] {
    return [
      `network/${networkId}`,
      ...this.#servicesByNetwork.of(networkId),
      ...this.#endpointsByNetwork.of(networkId),
    ];
  }

  /** Keys of what every node is told. */
  get commonKeys(): readonly ItemKey[] {
    return [
      ...[...this.#nodes.keys()].map((id) => `node/${id}`),
      ...[...this.#services.keys()].map((id) => `service/${id}`),
    ];
  }

  /** The item as a node sees it that takes part in `networks`; undefined: there is none for it. */
  item(key: ItemKey, networks: ReadonlySet<string>): Item | undefined {
    const [kind, id = ""] = key.split("/");
    const as = (fields: Partial<NetworkStateChange> | undefined) =>
      fields && NetworkStateChange.create({ action: NetworkStateChange_Action.UPDATE, ...fields });
    if (kind === "network") {
      const network = networks.has(id) ? this.#networks.get(id) : undefined;
      return as(network && { network });
    }
    if (kind === "node") {
      const node = this.#nodes.get(id);
      return as(node && { node });
    }
    if (kind === "service") {
      const stored = this.#services.get(id);
      const service = stored && projectService(stored, (networkId) => networks.has(networkId));
      return as(service && { service });
    }
    const endpoint = networks.has(id) ? this.#endpoints.get(key) : undefined;
    return as(endpoint && { endpoint });
  }
}

/** Sets, or deletes for undefined; true when that changed something. */
function put<T>(map: Map<string, T>, id: string, item: T | undefined): boolean {
  const old = map.get(id);
  if (item === undefined) return map.delete(id);
  if (old !== undefined && sameValue(old, item)) return false;
  map.set(id, item);
  return true;
}

/** Keys by what they belong to. */
class Index {
  readonly #keys = new Map<string, Set<ItemKey>>();

  of(owner: string): Iterable<ItemKey> {
    return this.#keys.get(owner) ?? [];
  }

  add(owner: string, key: ItemKey): void {
    const keys = this.#keys.get(owner);
    if (keys) keys.add(key);
    else this.#keys.set(owner, new Set([key]));
  }

  remove(owner: string, key: ItemKey): void {
    const keys = this.#keys.get(owner);
    if (keys?.delete(key) && keys.size === 0) this.#keys.delete(owner);
  }

  removeAll(key: ItemKey): void {
    for (const owner of [...this.#keys.keys()]) this.remove(owner, key);
  }
}
