/** Pure: no clock, no I/O, no randomness. */
import {
  balanceOf,
  dataPathLabel,
  formatAddress,
  hostAddressesLabel,
  isEncryptedNetwork,
  isIngressNetwork,
  isOnNode,
  isStopRequested,
  type Network,
  NetworkStateEndpoint,
  NetworkStateKey,
  NetworkStateNetwork,
  NetworkStateNode,
  NetworkStatePort,
  NetworkStateRelay,
  NetworkStateService,
  NetworkStateServiceNetwork,
  type Node,
  NodeRole,
  NodeStatus_State,
  networkKeysLabel,
  networkRelayLabel,
  PortConfig_PublishMode,
  parentNetwork,
  parseAddress,
  parseHostAddresses,
  parseNetworkKeys,
  parseNetworkRelay,
  prefersLocal,
  publishesNotReady,
  publishOn,
  type Service,
  type Task,
  TaskState,
  taskName,
} from "@starling/api";

/** Driver options of Docker's overlay driver that nodes act on. */
const vniOption = "com.docker.network.driver.overlay.vxlanid_list";
const mtuOption = "com.docker.network.driver.mtu";

const isV6 = (address: string): boolean => address.includes(":");
const withoutPrefix = (cidr: string): string => cidr.split("/")[0] ?? "";

/** The network as nodes need it; undefined before it is allocated. */
export function projectNetwork(network: Network): NetworkStateNetwork | undefined {
  const options = { ...network.spec.driverConfig?.options, ...network.driverState?.options };
  const parents = parentNetwork(network)?.parents ?? [];
  const vni = parents.length > 0 ? 0 : Number(options[vniOption]?.split(",")[0] ?? Number.NaN);
  const subnets = (network.ipam?.configs ?? []).map((config) => config.subnet).filter((subnet) => subnet !== "");
  if (network.driverState === undefined || !Number.isInteger(vni) || subnets.length === 0) return undefined;
  const mtu = Number(options[mtuOption] ?? 0);
  return NetworkStateNetwork.create({
    id: network.id,
    name: network.spec.annotations.name,
    vni,
    subnets,
    mtu: Number.isInteger(mtu) && mtu > 0 ? mtu : 0,
    encrypted: isEncryptedNetwork(network),
    ingress: isIngressNetwork(network),
    internal: network.spec.internal,
    parents,
  });
}

/**
 * Where the node is reached; empty when that is a loopback address. What the node itself says (`--data-path-addr`) is surer than
 * where its last session came from.
 */
export function projectNode(node: Node): NetworkStateNode {
  const candidates = [node.description?.engine?.labels[dataPathLabel] ?? "", node.status.addr].map(hostOf);
  const attachment = node.attachments.find(({ network }) => network !== undefined && isIngressNetwork(network));
  const labels = node.description?.engine?.labels ?? {};
  const keys = parseNetworkKeys(labels[networkKeysLabel] ?? "").map(NetworkStateKey.create);
  const relay = parseNetworkRelay(labels[networkRelayLabel] ?? "");
  const down = node.status.state === NodeStatus_State.DOWN;
  return NetworkStateNode.create({
    id: node.id,
    underlayAddress: candidates.find(isUsable) ?? "",
    vxlanPort: node.vxlanUdpPort,
    meshAddress: attachment?.addresses[0] ?? "",
    hostAddresses: parseHostAddresses(labels[hostAddressesLabel] ?? ""),
    keys,
    ...(relay && { relay: NetworkStateRelay.create({ ...relay, key: NetworkStateKey.create(relay.key) }) }),
    // One whose swarmd is away for a moment still relays.
    mayRelay: node.role === NodeRole.MANAGER && !down,
    // Nobody else needs to be told of each node that comes and goes.
    down: down && keys.length > 0,
  });
}

/** The host of `host:port`, `[host]:port` or `host`, when it is an IP address; IPv6 in its canonical form. */
function hostOf(address: string): string {
  const four = /^(\d{1,3}(?:\.\d{1,3}){3})(?::\d+)?$/.exec(address);
  if (four) return four[1]!;
  const six = /^(?:\[([0-9a-f:]+)\](?::\d+)?|([0-9a-f:]+))$/i.exec(address);
  const parsed = parseAddress(six?.[1] ?? six?.[2] ?? "");
  return parsed === undefined ? "" : formatAddress(parsed);
}

const isUsable = (host: string): boolean =>
  host !== "" && host !== "0.0.0.0" && host !== "::" && host !== "::1" && !/^(127\.|fe80:)/.test(host);

/** The service with the networks that `sees` accepts; undefined when nothing of it is left to see. */
export function projectService(
  service: Service,
  sees: (networkId: string) => boolean,
): NetworkStateService | undefined {
  const named = service.spec.task.networks.length > 0 ? service.spec.task.networks : service.spec.networks;
  const virtualIp = (network: string, six: boolean) =>
    withoutPrefix(
      service.endpoint?.virtualIps.find(({ networkId, addr }) => networkId === network && isV6(addr) === six)?.addr ??
        "",
    );
  const networks = named
    .filter(({ target }) => sees(target))
    .map(({ target, aliases }) =>
      NetworkStateServiceNetwork.create({
        networkId: target,
        virtualIp: virtualIp(target, false),
        virtualIp6: virtualIp(target, true),
        aliases,
      }),
    );
  const ports = (service.endpoint?.ports ?? [])
    .filter((port) => port.publishMode === PortConfig_PublishMode.INGRESS && port.publishedPort !== 0)
    .map(({ protocol, publishedPort, targetPort }) => NetworkStatePort.create({ protocol, publishedPort, targetPort }));
  if (networks.length === 0 && ports.length === 0) return undefined;
  return NetworkStateService.create({
    id: service.id,
    name: service.spec.annotations.name,
    networks,
    ports,
    preferLocal: prefersLocal(service.spec.annotations.labels),
    publishOn: publishOn(service.spec.annotations.labels),
    balance: balanceOf(service.spec.annotations.labels),
  });
}

/** The task's places on its networks, while it is on a node. */
export function projectTask(task: Task): readonly NetworkStateEndpoint[] {
  if (!isOnNode(task)) return [];
  const { state } = task.status;
  const ready = state === TaskState.RUNNING || (state === TaskState.STARTING && publishesNotReady(task.spec.container));
  const serving = ready && !isStopRequested(task);
  const names = [taskName(task)];
  if (task.slot > 0) names.push(`${task.serviceAnnotations.name}.${task.slot}`);
  const encrypted = task.networks.some(({ network }) => network !== undefined && isEncryptedNetwork(network));
  return task.networks.flatMap(({ network, addresses }) => {
    const address = withoutPrefix(addresses.find((cidr) => !isV6(cidr)) ?? "");
    if (network === undefined || address === "") return [];
    return NetworkStateEndpoint.create({
      networkId: network.id,
      taskId: task.id,
      serviceId: task.serviceId,
      nodeId: task.nodeId,
      address,
      address6: withoutPrefix(addresses.find(isV6) ?? ""),
      serving,
      names: isIngressNetwork(network) ? [] : names,
      encrypted: encrypted && isIngressNetwork(network),
    });
  });
}
