/** Pure: no clock, no I/O, no randomness. */
import {
  Endpoint,
  Endpoint_VirtualIP,
  EndpointSpec,
  EndpointSpec_ResolutionMode,
  isPredefinedNetwork,
  Network,
  needsIngressNetwork,
  type PortConfig,
  PortConfig_Protocol_names,
  PortConfig_PublishMode,
  type Service,
  type ServiceSpec,
  sameValue,
} from "@starling/api";
import { familiesOf, isRefusal, type Ledger, meshPorts, type Refusal } from "./ledger.ts";

/** Finds the networks that a spec names. */
export interface Networks {
  get(id: string): Network | undefined;
  readonly ingress: Network | undefined;
}

const none: readonly string[] = [];

/** The networks that the service's tasks are attached to: those it names, and ingress when it publishes there. */
export function networksOf(spec: ServiceSpec): readonly string[] {
  const named = spec.task.networks.length > 0 ? spec.task.networks : spec.networks;
  return named.length === 0 ? none : [...new Set(named.map((config) => config.target))];
}

/** Nothing is allocated on the networks that nodes have by themselves. */
export const isNodeLocal = (network: Network | undefined): boolean =>
  network !== undefined && isPredefinedNetwork(network);

/** Ids of the networks on which the service has a virtual IP. */
function virtualIpNetworks(spec: ServiceSpec, networks: Networks): readonly string[] {
  if (spec.endpoint?.mode === EndpointSpec_ResolutionMode.DNSRR) return [];
  const named = networksOf(spec).filter((id) => !isNodeLocal(networks.get(id)));
  return needsIngressNetwork(spec) && networks.ingress ? [...named, networks.ingress.id] : named;
}

const portsWanted = (spec: ServiceSpec): readonly PortConfig[] => spec.endpoint?.ports ?? [];

/** Whether the service's endpoint is what its spec asks for. */
export function isAllocatedService(service: Service, networks: Networks): boolean {
  const { spec, endpoint } = service;
  const wanted = virtualIpNetworks(spec, networks);
  if (endpoint === undefined) return wanted.length === 0 && portsWanted(spec).length === 0;
  const has = (id: string) => endpoint.virtualIps.filter((ip) => ip.networkId === id).length;
  const families = (id: string) => Math.max(1, familiesOf(networks.get(id) ?? Network.create()));
  return (
    sameValue(endpoint.spec ?? EndpointSpec.create(), spec.endpoint ?? EndpointSpec.create()) &&
    wanted.every((id) => has(id) === families(id)) &&
    endpoint.virtualIps.every(({ networkId }) => wanted.includes(networkId)) &&
    endpoint.ports.length === portsWanted(spec).length
  );
}

/**
 * The service with virtual IPs and ports as its spec asks, noted in the ledger. What it has and still needs it keeps: a
 * virtual IP per network and family, and the number of a port that the spec leaves open. On refusal the ledger is as before.
 */
export function allocateService(service: Service, networks: Networks, ledger: Ledger): Service | Refusal {
  const { spec } = service;
  if (needsIngressNetwork(spec) && networks.ingress === undefined) {
    return { refused: "the service publishes ports in the routing mesh, but there is no ingress network" };
  }
  const undo: (() => void)[] = [];
  const refuse = (refusal: Refusal): Refusal => {
    for (const step of undo.reverse()) step();
    return refusal;
  };
  const virtualIps: Endpoint_VirtualIP[] = [];
  for (const networkId of virtualIpNetworks(spec, networks)) {
    const known = service.endpoint?.virtualIps.filter((ip) => ip.networkId === networkId) ?? [];
    if (known.length > 0) {
      virtualIps.push(...known);
      continue;
    }
    const network = networks.get(networkId);
    if (network === undefined) return refuse({ refused: `network ${networkId} not found` });
    const addresses = ledger.takeAddresses(network);
    if (isRefusal(addresses)) return refuse(addresses);
    for (const addr of addresses) {
      undo.push(() => ledger.freeAddress(networkId, addr));
      virtualIps.push(Endpoint_VirtualIP.create({ networkId, addr }));
    }
  }
  const ports = allocatePorts(service, ledger, undo);
  if (isRefusal(ports)) return refuse(ports);
  for (const gone of service.endpoint?.virtualIps ?? []) {
    if (!virtualIps.includes(gone)) ledger.freeAddress(gone.networkId, gone.addr);
  }
  const kept = new Set(ports.filter((p) => p.publishMode === PortConfig_PublishMode.INGRESS).map(portKey));
  for (const old of meshPorts(service)) {
    if (!kept.has(portKey(old))) ledger.ports(old.protocol).free(old.publishedPort, service.id);
  }
  return { ...service, endpoint: Endpoint.create({ spec: spec.endpoint, ports, virtualIps }) };
}

const portKey = (port: PortConfig): string => `${port.protocol}/${port.publishedPort}`;

function allocatePorts(service: Service, ledger: Ledger, undo: (() => void)[]): readonly PortConfig[] | Refusal {
  const before = meshPorts(service);
  const ports: PortConfig[] = [];
  for (const port of portsWanted(service.spec)) {
    if (port.publishMode !== PortConfig_PublishMode.INGRESS) {
      ports.push(port);
      continue;
    }
    const space = ledger.ports(port.protocol);
    const protocol = (PortConfig_Protocol_names[port.protocol] ?? "").toLowerCase();
    const same = before.find(
      (p) => p.name === port.name && p.protocol === port.protocol && p.targetPort === port.targetPort,
    );
    const number = port.publishedPort || (same?.publishedPort ?? space.take(service.id));
    if (number === undefined) return { refused: `no free ${protocol} port is left for target port ${port.targetPort}` };
    const had = space.ownerOf(number) === service.id && before.some((p) => portKey(p) === `${port.protocol}/${number}`);
    if (!space.takeExactly(number, service.id)) {
      return {
        refused: `port ${number}/${protocol} is in use by service ${space.ownerOf(number)}: publish another port`,
      };
    }
    if (!had) undo.push(() => space.free(number, service.id));
    ports.push({ ...port, publishedPort: number });
  }
  return ports;
}
