/** Pure: no clock, no I/O, no randomness. */
import {
  NetworkStateChange_Action,
  type NetworkStateEndpoint,
  type NetworkStateMessage,
  NetworkStateMessage_Type,
  type NetworkStateNetwork,
  type NetworkStateNode,
  type NetworkStateService,
} from "@starling/api";
import { Groups } from "./groups.ts";

export const endpointKey = (endpoint: { readonly networkId: string; readonly taskId: string }): string =>
  `${endpoint.networkId}/${endpoint.taskId}`;

/** An endpoint's addresses of both families, as far as it has them. */
export const addressesOf = ({ address, address6 }: Pick<NetworkStateEndpoint, "address" | "address6">) =>
  address6 === "" ? [address] : [address, address6];

/** The node's address in the mesh; empty: none. */
export const meshAddressOf = (node: NetworkStateNode | undefined): string => node?.meshAddress.split("/")[0] ?? "";

/** A view's items, as tests write them. */
export interface ViewItems {
  readonly networks?: Iterable<NetworkStateNetwork>;
  readonly nodes?: Iterable<NetworkStateNode>;
  readonly services?: Iterable<NetworkStateService>;
  readonly endpoints?: Iterable<NetworkStateEndpoint>;
}

/**
 * What the managers said of the cluster's networks, as far as it concerns this node. Indexes follow each change, so that nobody
 * has to go through all of it.
 */
export class NetworkView {
  readonly #networks = new Map<string, NetworkStateNetwork>();
  readonly #nodes = new Map<string, NetworkStateNode>();
  readonly #services = new Map<string, NetworkStateService>();
  readonly #endpoints = new Map<string, NetworkStateEndpoint>();
  readonly #ofNetwork = new Map<string, Set<NetworkStateEndpoint>>();
  readonly #ofNode = new Map<string, Set<NetworkStateEndpoint>>();
  readonly #ofTask = new Groups<NetworkStateEndpoint>();
  readonly #ofService = new Groups<NetworkStateEndpoint>();
  readonly #ofAddress = new Groups<NetworkStateEndpoint>();
  readonly #named = new Groups<NetworkStateEndpoint>();
  readonly #servicesNamed = new Groups<NetworkStateService>();
  readonly #ofVirtualIp = new Groups<NetworkStateService>();
  /** How many encrypted endpoints networks have. */
  readonly #encrypted = new Map<string, number>();
  #ingress: NetworkStateNetwork | undefined;

  static of(items: ViewItems): NetworkView {
    const view = new NetworkView();
    for (const network of items.networks ?? []) view.#setNetwork(network.id, network);
    for (const node of items.nodes ?? []) view.#nodes.set(node.id, node);
    for (const service of items.services ?? []) view.#setService(service.id, service);
    for (const endpoint of items.endpoints ?? []) view.#setEndpoint(endpointKey(endpoint), endpoint);
    return view;
  }

  get networks(): ReadonlyMap<string, NetworkStateNetwork> {
    return this.#networks;
  }
  get nodes(): ReadonlyMap<string, NetworkStateNode> {
    return this.#nodes;
  }
  get services(): ReadonlyMap<string, NetworkStateService> {
    return this.#services;
  }
  /** By `endpointKey`. */
  get endpoints(): ReadonlyMap<string, NetworkStateEndpoint> {
    return this.#endpoints;
  }
  /** The network of published ports, when the cluster has one. */
  get ingress(): NetworkStateNetwork | undefined {
    return this.#ingress;
  }

  endpointsOn(networkId: string): Iterable<NetworkStateEndpoint> {
    return this.#ofNetwork.get(networkId) ?? [];
  }
  endpointsAt(nodeId: string): Iterable<NetworkStateEndpoint> {
    return this.#ofNode.get(nodeId) ?? [];
  }
  endpointsOf(taskId: string): readonly NetworkStateEndpoint[] {
    return this.#ofTask.of(taskId);
  }
  /** Those on the network that have the address, of either family. */
  endpointsWith(networkId: string, address: string): readonly NetworkStateEndpoint[] {
    return this.#ofAddress.of(`${networkId}/${address}`);
  }
  /** Those with the name, in lower case, on the network. */
  endpointsNamed(networkId: string, name: string): readonly NetworkStateEndpoint[] {
    return this.#named.of(`${networkId}/${name}`);
  }
  /** Those on the network that have the name, in lower case, or alias. */
  servicesNamed(networkId: string, name: string): readonly NetworkStateService[] {
    return this.#servicesNamed.of(`${networkId}/${name}`);
  }
  servicesWith(networkId: string, virtualIp: string): readonly NetworkStateService[] {
    return this.#ofVirtualIp.of(`${networkId}/${virtualIp}`);
  }
  hasEncrypted(networkId: string): boolean {
    return this.#encrypted.has(networkId);
  }

  /** The service's tasks on the network that new connections may go to, in an order that all nodes share. */
  backends(networkId: string, serviceId: string, without: ReadonlySet<string>): readonly NetworkStateEndpoint[] {
    return this.#ofService
      .of(`${networkId}/${serviceId}`)
      .filter(({ serving, taskId }) => serving && !without.has(taskId))
      .sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
  }

  apply(message: NetworkStateMessage): void {
    if (message.type === NetworkStateMessage_Type.COMPLETE) this.#clear();
    for (const { action, network, node, service, endpoint } of message.changes) {
      const isRemoved = action === NetworkStateChange_Action.REMOVE;
      if (network) this.#setNetwork(network.id, isRemoved ? undefined : network);
      else if (node && isRemoved) this.#nodes.delete(node.id);
      else if (node) this.#nodes.set(node.id, node);
      else if (service) this.#setService(service.id, isRemoved ? undefined : service);
      else if (endpoint) this.#setEndpoint(endpointKey(endpoint), isRemoved ? undefined : endpoint);
    }
  }

  #clear(): void {
    for (const id of [...this.#networks.keys()]) this.#setNetwork(id, undefined);
    this.#nodes.clear();
    for (const id of [...this.#services.keys()]) this.#setService(id, undefined);
    for (const key of [...this.#endpoints.keys()]) this.#setEndpoint(key, undefined);
  }

  #setNetwork(id: string, network: NetworkStateNetwork | undefined): void {
    replace(this.#networks, id, network);
    if (network?.ingress || this.#ingress?.id === id) {
      // The least, should there ever be two: the order in which they came is nothing that nodes share.
      const ids = [...this.#networks.values()].filter(({ ingress }) => ingress).map((other) => other.id);
      this.#ingress = this.#networks.get(ids.sort()[0] ?? "");
    }
  }

  #setService(id: string, service: NetworkStateService | undefined): void {
    const old = this.#services.get(id);
    if (old !== undefined) this.#indexService("remove", old);
    replace(this.#services, id, service);
    if (service !== undefined) this.#indexService("add", service);
  }

  #indexService(how: "add" | "remove", service: NetworkStateService): void {
    for (const { networkId, virtualIp, virtualIp6, aliases } of service.networks) {
      const names = new Set([service.name, ...aliases].map((name) => name.toLowerCase()));
      for (const name of names) this.#servicesNamed[how](`${networkId}/${name}`, service);
      for (const address of [virtualIp, virtualIp6])
        if (address !== "") this.#ofVirtualIp[how](`${networkId}/${address}`, service);
    }
  }

  #setEndpoint(key: string, endpoint: NetworkStateEndpoint | undefined): void {
    const old = this.#endpoints.get(key);
    if (old !== undefined) this.#indexEndpoint("remove", old);
    replace(this.#endpoints, key, endpoint);
    if (endpoint !== undefined) this.#indexEndpoint("add", endpoint);
  }

  #indexEndpoint(how: "add" | "remove", endpoint: NetworkStateEndpoint): void {
    const { networkId, nodeId, taskId, serviceId, encrypted } = endpoint;
    const isAdded = how === "add";
    inSet(this.#ofNetwork, networkId, endpoint, isAdded);
    inSet(this.#ofNode, nodeId, endpoint, isAdded);
    this.#ofTask[how](taskId, endpoint);
    this.#ofService[how](`${networkId}/${serviceId}`, endpoint);
    for (const address of addressesOf(endpoint)) this.#ofAddress[how](`${networkId}/${address}`, endpoint);
    for (const name of new Set(endpoint.names.map((text) => text.toLowerCase())))
      this.#named[how](`${networkId}/${name}`, endpoint);
    if (!encrypted) return;
    const count = (this.#encrypted.get(networkId) ?? 0) + (isAdded ? 1 : -1);
    replace(this.#encrypted, networkId, count === 0 ? undefined : count);
  }
}

function replace<T>(map: Map<string, T>, key: string, value: T | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

function inSet<T>(map: Map<string, Set<T>>, key: string, value: T, isAdded: boolean): void {
  const set = map.get(key) ?? new Set();
  if (isAdded) map.set(key, set.add(value));
  else if (set.delete(value) && set.size === 0) map.delete(key);
}
