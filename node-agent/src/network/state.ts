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

/** What the managers said of the cluster's networks, as far as it concerns this node. */
export interface NetworkView {
  readonly networks: ReadonlyMap<string, NetworkStateNetwork>;
  readonly nodes: ReadonlyMap<string, NetworkStateNode>;
  readonly services: ReadonlyMap<string, NetworkStateService>;
  /** By `endpointKey`. */
  readonly endpoints: ReadonlyMap<string, NetworkStateEndpoint>;
}

export const emptyView: NetworkView = {
  networks: new Map(),
  nodes: new Map(),
  services: new Map(),
  endpoints: new Map(),
};

export const endpointKey = (endpoint: { readonly networkId: string; readonly taskId: string }): string =>
  `${endpoint.networkId}/${endpoint.taskId}`;

/** The view after `message`. The old one is left as it is. */
export function applyMessage(view: NetworkView, message: NetworkStateMessage): NetworkView {
  const complete = message.type === NetworkStateMessage_Type.COMPLETE;
  const from = complete ? emptyView : view;
  const networks = copyOnWrite(from.networks);
  const nodes = copyOnWrite(from.nodes);
  const services = copyOnWrite(from.services);
  const endpoints = copyOnWrite(from.endpoints);
  for (const change of message.changes) {
    const remove = change.action === NetworkStateChange_Action.REMOVE;
    if (change.network) put(networks(), change.network.id, change.network, remove);
    else if (change.node) put(nodes(), change.node.id, change.node, remove);
    else if (change.service) put(services(), change.service.id, change.service, remove);
    else if (change.endpoint) put(endpoints(), endpointKey(change.endpoint), change.endpoint, remove);
  }
  return { networks: networks.now, nodes: nodes.now, services: services.now, endpoints: endpoints.now };
}

/** A map that is copied when it is first written to (the call); `now` is the copy, or the map itself. */
function copyOnWrite<T>(from: ReadonlyMap<string, T>) {
  let copy: Map<string, T> | undefined;
  const writable = (): Map<string, T> => {
    copy ??= new Map(from);
    return copy;
  };
  return Object.defineProperty(writable, "now", { get: () => copy ?? from }) as typeof writable & {
    readonly now: ReadonlyMap<string, T>;
  };
}

function put<T>(map: Map<string, T>, key: string, value: T, remove: boolean): void {
  if (remove) map.delete(key);
  else map.set(key, value);
}

/** The network of published ports, when the cluster has one. */
export function ingressOf(view: NetworkView): NetworkStateNetwork | undefined {
  for (const network of view.networks.values()) if (network.ingress) return network;
  return undefined;
}

const serviceKeys = new WeakMap<NetworkStateEndpoint, string>();

/** Made once for each endpoint. */
function serviceKey(endpoint: NetworkStateEndpoint): string {
  let key = serviceKeys.get(endpoint);
  if (key === undefined) {
    key = `${endpoint.networkId}/${endpoint.serviceId}`;
    serviceKeys.set(endpoint, key);
  }
  return key;
}

const backendsOf = new WeakMap<NetworkView, ReadonlyMap<string, readonly NetworkStateEndpoint[]>>();

/** Addresses by `networkId/serviceId` of the tasks that new connections may go to, in an order that all nodes share. */
export function backendsByService(
  view: NetworkView,
  without: ReadonlySet<string>,
): ReadonlyMap<string, readonly NetworkStateEndpoint[]> {
  const known = without.size === 0 ? backendsOf.get(view) : undefined;
  if (known !== undefined) return known;
  const found = new Map<string, NetworkStateEndpoint[]>();
  if (without.size === 0) backendsOf.set(view, found);
  for (const endpoint of view.endpoints.values()) {
    if (!endpoint.serving || without.has(endpoint.taskId)) continue;
    const key = serviceKey(endpoint);
    const list = found.get(key);
    if (list) list.push(endpoint);
    else found.set(key, [endpoint]);
  }
  for (const list of found.values()) if (list.length > 1) list.sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
  return found;
}
