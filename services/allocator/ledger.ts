/** Pure: no clock, no I/O, no randomness. */
import {
  defaultAddressPools,
  defaultSubnetSize,
  hasStopped,
  type Network,
  type Node,
  PortConfig_PublishMode,
  type Service,
  type Task,
} from "@starling/api";
import { AddressSpace } from "./address-space.ts";
import { firstDynamicPort, firstVni, lastDynamicPort, lastVni, NumberSpace } from "./numbers.ts";
import { type Address, addressText, contains, parseAddressNumber, parseSubnet, type Subnet } from "./subnet.ts";

/** Option of an overlay network's driver state, in Swarm's spelling. */
export const vniOption = "com.docker.network.driver.overlay.vxlanid_list";

/** What allocation may fail with: a sentence for the user. */
export interface Refusal {
  readonly refused: string;
}

export const isRefusal = (value: object): value is Refusal => "refused" in value;

/**
 * What is given out in the cluster: subnets, VXLAN ids, addresses, ports. Built from the store's objects alone, so that
 * a new leader knows what the old one gave.
 *
 * Invariant: no address, VXLAN id or port of the routing mesh is given to two owners.
 */
export class Ledger {
  readonly vnis = new NumberSpace(firstVni, lastVni);
  readonly #ports = new Map<number, NumberSpace>();
  readonly #networks = new Map<string, readonly AddressSpace[]>();
  /** Of both families. */
  pools: readonly Subnet[] = defaultAddressPools.flatMap((pool) => parseSubnet(pool) ?? []);
  subnetSize = defaultSubnetSize;
  /** How many nodes have an address, by `bits/value`. */
  readonly #hosts = new Map<string, number>();

  /** Ports of the routing mesh, by protocol. */
  ports(protocol: number): NumberSpace {
    let space = this.#ports.get(protocol);
    if (space === undefined) {
      space = new NumberSpace(firstDynamicPort, lastDynamicPort);
      this.#ports.set(protocol, space);
    }
    return space;
  }

  /** Notes a node's own address, which a network on the hosts' own one may have in its subnet: given to nobody. */
  addHost({ bits, value }: Address): void {
    const key = `${bits}/${value}`;
    this.#hosts.set(key, (this.#hosts.get(key) ?? 0) + 1);
  }

  /** A node has the address no more. REQUIRES: it was added for that node. */
  removeHost({ bits, value }: Address): void {
    const key = `${bits}/${value}`;
    const left = (this.#hosts.get(key) ?? 0) - 1;
    if (left > 0) this.#hosts.set(key, left);
    else this.#hosts.delete(key);
  }

  /** Subnets of all networks. */
  get subnets(): readonly Subnet[] {
    return [...this.#networks.values()].flat().map((space) => space.subnet);
  }

  knowsNetwork(id: string): boolean {
    return this.#networks.has(id);
  }

  /** Notes what an allocated network has; one that isn't allocated is not known. */
  addNetwork(network: Network): void {
    if (!isAllocatedNetwork(network) || this.#networks.has(network.id)) return;
    const spaces = (network.ipam?.configs ?? []).flatMap((config) => {
      const subnet = parseSubnet(config.subnet);
      if (subnet === undefined) return [];
      const reserved = [config.gateway, ...Object.values(config.reserved)].flatMap((a) => parseAddressNumber(a) ?? []);
      const isHosts = (value: bigint) => this.#hosts.has(`${subnet.bits}/${value}`);
      return [new AddressSpace(subnet, parseSubnet(config.range) ?? subnet, reserved, isHosts)];
    });
    this.#networks.set(network.id, spaces);
    const vni = vniOf(network);
    if (vni !== undefined) this.vnis.takeExactly(vni, network.id);
  }

  removeNetwork(network: Network): void {
    this.#networks.delete(network.id);
    const vni = vniOf(network);
    if (vni !== undefined) this.vnis.free(vni, network.id);
  }

  /**
   * An address of each family that the network has, with its prefix length, IPv4 first; `wanted` asks for certain ones.
   * On refusal the ledger is as before.
   */
  takeAddresses(network: Network, wanted: readonly string[] = []): readonly string[] | Refusal {
    const name = network.spec.annotations.name;
    const spaces = this.#networks.get(network.id);
    if (spaces === undefined) return { refused: `network ${name} is not allocated yet` };
    const taken: string[] = [];
    const refuse = (refused: string): Refusal => {
      for (const address of taken) this.freeAddress(network.id, address);
      return { refused };
    };
    const asked = new Map<number, Address>();
    for (const text of wanted) {
      const address = parseAddressNumber(text);
      if (address === undefined || !spaces.some(({ subnet }) => contains(subnet, address)))
        return refuse(`network ${name}: address ${text} is outside of the network's subnets`);
      asked.set(address.bits, address);
    }
    for (const bits of [32, 128] as const) {
      const family = spaces.filter(({ subnet }) => subnet.bits === bits);
      if (family.length === 0) continue;
      const exact = asked.get(bits);
      const address = firstOf(family, (space) => (exact === undefined ? space.take() : space.takeExactly(exact)));
      if (address !== undefined) taken.push(address);
      else if (exact !== undefined)
        return refuse(`network ${name}: address ${addressText(bits, exact.value)} is in use`);
      else {
        const kind = bits === 32 ? "address" : "IPv6 address";
        return refuse(`network ${name} has no free ${kind}: remove tasks, or use a network with a larger subnet`);
      }
    }
    return taken;
  }

  freeAddress(networkId: string, address: string): void {
    this.#onSpace(networkId, address, (space, number) => space.free(number));
  }

  /** Returns the addresses that were someone else's already. */
  claimNode(node: Node): readonly string[] {
    return node.attachments.flatMap((attachment) => this.#claim(attachment.network?.id ?? "", attachment.addresses));
  }

  claimService(service: Service): readonly string[] {
    for (const port of meshPorts(service)) this.ports(port.protocol).takeExactly(port.publishedPort, service.id);
    return (service.endpoint?.virtualIps ?? []).flatMap(({ networkId, addr }) => this.#claim(networkId, [addr]));
  }

  claimTask(task: Task): readonly string[] {
    if (!holdsAddresses(task)) return [];
    return task.networks.flatMap((attachment) => this.#claim(attachment.network?.id ?? "", attachment.addresses));
  }

  freeNode(node: Node): void {
    for (const { network, addresses } of node.attachments) {
      for (const address of addresses) this.freeAddress(network?.id ?? "", address);
    }
  }

  freeService(service: Service): void {
    for (const port of meshPorts(service)) this.ports(port.protocol).free(port.publishedPort, service.id);
    for (const { networkId, addr } of service.endpoint?.virtualIps ?? []) this.freeAddress(networkId, addr);
  }

  freeTask(task: Task): void {
    for (const { network, addresses } of task.networks) {
      for (const address of addresses) this.freeAddress(network?.id ?? "", address);
    }
  }

  #claim(networkId: string, addresses: readonly string[]): readonly string[] {
    const doubled: string[] = [];
    for (const address of addresses) {
      this.#onSpace(networkId, address, (space, number) => {
        if (!space.claim(number)) doubled.push(addressText(number.bits, number.value));
      });
    }
    return doubled;
  }

  #onSpace(networkId: string, address: string, act: (space: AddressSpace, address: Address) => void): void {
    const number = parseAddressNumber(address);
    if (number === undefined) return;
    for (const space of this.#networks.get(networkId) ?? []) {
      if (contains(space.subnet, number)) act(space, number);
    }
  }
}

function firstOf<T, R>(items: readonly T[], find: (item: T) => R | undefined): R | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** How many addresses everyone on the allocated network has: one, or two with IPv6. */
export const familiesOf = (network: Network): number =>
  new Set((network.ipam?.configs ?? []).flatMap(({ subnet }) => parseSubnet(subnet)?.bits ?? [])).size;

/** Whether the network has what its driver needs, and subnets. */
export function isAllocatedNetwork(network: Network): boolean {
  return network.driverState !== undefined && (network.ipam?.configs.length ?? 0) > 0;
}

export function vniOf(network: Network): number | undefined {
  const text = network.driverState?.options[vniOption]?.split(",")[0];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Tasks that stopped keep their addresses written down, but others may have them. */
export const holdsAddresses = (task: Task): boolean => task.networks.length > 0 && !hasStopped(task);

export function meshPorts(service: Service) {
  return (service.endpoint?.ports ?? []).filter(
    (port) => port.publishMode === PortConfig_PublishMode.INGRESS && port.publishedPort !== 0,
  );
}
