/** Pure: no clock, no I/O, no randomness. */
import type { NftChain, NftTable } from "./nft-table.ts";

/** A service as a task reaches it. */
export interface VirtualService {
  readonly virtualIp: string;
  /** Addresses of the tasks that take connections, on the same network. */
  readonly backends: readonly string[];
}

/** What lies on a task's networks. */
export interface Reachable {
  readonly services: readonly VirtualService[];
  /** Addresses of both families whose task is gone. */
  readonly dead: readonly string[];
}

/** Where the name server's sockets of this task are bound, at 127.0.0.11. */
export interface NameServerPorts {
  readonly udp: number;
  readonly tcp: number;
}

export const nameServerAddress = "127.0.0.11";

/**
 * The tables of a task's network namespace; the one for IPv6 only where the task has IPv6 addresses (`ipv6`). Everything
 * of the other family is left out of each.
 */
export function taskTables(
  { services, dead }: Reachable,
  nameServer: NameServerPorts | undefined,
  ipv6: boolean,
): readonly NftTable[] {
  const isV6 = (address: string) => address.includes(":");
  const of = (six: boolean): Reachable => ({
    services: services.filter(({ virtualIp }) => isV6(virtualIp) === six),
    dead: dead.filter((address) => isV6(address) === six),
  });
  const tables = [taskTable(4, of(false), nameServer)];
  return ipv6 ? [...tables, taskTable(6, of(true), undefined)] : tables;
}

/**
 * Table of one family: connections to a virtual IP go to one of the service's tasks, drawn anew for each
 * connection and any protocol (so that ping answers too); a service without tasks refuses at once; connections to tasks
 * that are gone (`dead`) are reset; port 53 of the name
 * server's address leads to its sockets, which stand on ports of their own lest the task wants 53 for itself.
 */
function taskTable(family: 4 | 6, { services, dead }: Reachable, nameServer: NameServerPorts | undefined): NftTable {
  const [ip, type] = family === 4 ? ["ip", "ipv4_addr"] : ["ip6", "ipv6_addr"];
  const live = services.filter((service) => service.backends.length > 0);
  const chains: NftChain[] = live.map((service) => ({ name: chainOf(service), rules: [spread(service.backends)] }));
  const names =
    nameServer === undefined
      ? []
      : [
          `ip daddr ${nameServerAddress} udp dport 53 dnat to ${nameServerAddress}:${nameServer.udp}`,
          `ip daddr ${nameServerAddress} tcp dport 53 dnat to ${nameServerAddress}:${nameServer.tcp}`,
        ];
  return {
    name: `${ip} starling`,
    sets: [
      {
        name: "virtual",
        type,
        value: "verdict",
        elements: new Map(live.map((service) => [service.virtualIp, `goto ${chainOf(service)}`])),
      },
      {
        name: "empty",
        type,
        elements: new Map(services.filter((s) => s.backends.length === 0).map((service) => [service.virtualIp, ""])),
      },
      { name: "dead", type, elements: new Map(dead.map((address) => [address, ""])) },
    ],
    chains: [
      ...chains,
      {
        name: "nat_output",
        hook: "type nat hook output priority -100",
        rules: [...names, `${ip} daddr vmap @virtual`],
      },
      {
        name: "filter_output",
        hook: "type filter hook output priority 0",
        rules: [
          `${ip} daddr @empty meta l4proto tcp reject with tcp reset`,
          `${ip} daddr @empty reject`,
          `${ip} daddr @dead meta l4proto tcp reject with tcp reset`,
        ],
      },
    ],
  };
}

const chainOf = (service: VirtualService): string => `vip_${service.virtualIp.replace(/[.:]/g, "_")}`;

function spread(backends: readonly string[]): string {
  if (backends.length === 1) return `dnat to ${backends[0]}`;
  const choices = backends.map((address, position) => `${position} : ${address}`).join(", ");
  return `dnat to numgen random mod ${backends.length} map { ${choices} }`;
}
