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
  const next = {
    networks: new Map(from.networks),
    nodes: new Map(from.nodes),
    services: new Map(from.services),
    endpoints: new Map(from.endpoints),
  };
  for (const change of message.changes) {
    const remove = change.action === NetworkStateChange_Action.REMOVE;
    if (change.network) put(next.networks, change.network.id, change.network, remove);
    else if (change.node) put(next.nodes, change.node.id, change.node, remove);
    else if (change.service) put(next.services, change.service.id, change.service, remove);
    else if (change.endpoint) put(next.endpoints, endpointKey(change.endpoint), change.endpoint, remove);
  }
  return next;
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

/** Addresses by `networkId/serviceId` of the tasks that new connections may go to, in an order that all nodes share. */
export function backendsByService(
  view: NetworkView,
  without: ReadonlySet<string>,
): ReadonlyMap<string, readonly NetworkStateEndpoint[]> {
  const found = new Map<string, NetworkStateEndpoint[]>();
  for (const endpoint of view.endpoints.values()) {
    if (!endpoint.serving || without.has(endpoint.taskId)) continue;
    const key = `${endpoint.networkId}/${endpoint.serviceId}`;
    const list = found.get(key);
    if (list) list.push(endpoint);
    else found.set(key, [endpoint]);
  }
  for (const list of found.values()) list.sort((a, b) => (a.taskId < b.taskId ? -1 : 1));
  return found;
}
