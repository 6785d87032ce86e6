/** Pure: no clock, no I/O, no randomness. */
import {
  defaultAddressPools,
  defaultSubnetSize,
  isTerminal,
  type Network,
  type Node,
  PortConfig_PublishMode,
  type Service,
  type Task,
} from "@starling/api";
import { AddressSpace } from "./address-space.ts";
import { firstDynamicPort, firstVni, lastDynamicPort, lastVni, NumberSpace } from "./numbers.ts";
import { addressText, parseAddressNumber, parseSubnet, type Subnet } from "./subnet.ts";

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
  pools: readonly Subnet[] = defaultAddressPools.flatMap((pool) => parseSubnet(pool) ?? []);
  subnetSize = defaultSubnetSize;

  /** Ports of the routing mesh, by protocol. */
  ports(protocol: number): NumberSpace {
    let space = this.#ports.get(protocol);
    if (space === undefined) {
      space = new NumberSpace(firstDynamicPort, lastDynamicPort);
      this.#ports.set(protocol, space);
    }
    return space;
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
      return [new AddressSpace(subnet, parseSubnet(config.range) ?? subnet, reserved)];
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

  /** An address on the network with its prefix length; `wanted` asks for a certain one. */
  takeAddress(network: Network, wanted?: string): string | Refusal {
    const name = network.spec.annotations.name;
    const spaces = this.#networks.get(network.id);
    if (spaces === undefined) return { refused: `network ${name} is not allocated yet` };
    if (wanted !== undefined) {
      const number = parseAddressNumber(wanted);
      for (const space of spaces) {
        const address = number === undefined ? undefined : space.takeExactly(number);
        if (address !== undefined) return address;
      }
      return { refused: `network ${name}: address ${wanted} is in use or outside of the network's subnets` };
    }
    for (const space of spaces) {
      const address = space.take();
      if (address !== undefined) return address;
    }
    return { refused: `network ${name} has no free address: remove tasks, or use a network with a larger subnet` };
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
        if (!space.claim(number)) doubled.push(addressText(number));
      });
    }
    return doubled;
  }

  #onSpace(networkId: string, address: string, act: (space: AddressSpace, number: number) => void): void {
    const number = parseAddressNumber(address);
    if (number === undefined) return;
    for (const space of this.#networks.get(networkId) ?? []) {
      if (number >= space.subnet.first && number < space.subnet.first + 2 ** (32 - space.subnet.prefix))
        act(space, number);
    }
  }
}

/** Whether the network has a VXLAN id and subnets. */
export function isAllocatedNetwork(network: Network): boolean {
  return network.driverState !== undefined && (network.ipam?.configs.length ?? 0) > 0;
}

export function vniOf(network: Network): number | undefined {
  const text = network.driverState?.options[vniOption]?.split(",")[0];
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Tasks that ended keep their addresses written down, but others may have them. */
export const holdsAddresses = (task: Task): boolean => task.networks.length > 0 && !isTerminal(task.status.state);

export function meshPorts(service: Service) {
  return (service.endpoint?.ports ?? []).filter(
    (port) => port.publishMode === PortConfig_PublishMode.INGRESS && port.publishedPort !== 0,
  );
}
