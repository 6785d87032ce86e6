/** Pure: no clock, no I/O, no randomness. */
import type { NftChain, NftSet, NftTable } from "./nft-table.ts";

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
 * The tables of a task's network namespace; the one for IPv6 only where the task has IPv6 addresses (`ipv6`). Sets are the
 * same objects for the same `reachable`, so that tasks of the same networks share the work of making and comparing them.
 */
export function taskTables(
  reachable: Reachable,
  nameServer: NameServerPorts | undefined,
  ipv6: boolean,
): readonly NftTable[] {
  const tables = [taskTable(4, reachable, nameServer)];
  return ipv6 ? [...tables, taskTable(6, reachable, undefined)] : tables;
}

/**
 * Table of one family: connections to a virtual IP go to one of the service's tasks, drawn anew for each connection and any
 * protocol (so that ping answers too); a service without tasks refuses at once; connections to tasks that are gone
 * (`dead`) are reset; port 53 of the name server's address leads to its sockets, which stand on ports of their own lest the
 * task wants 53 for itself.
 *
 * All services with as many tasks share a chain, which draws a number and looks up the virtual IP and the number: a change
 * of a task changes elements only, and costs the same whatever else there is.
 */
function taskTable(family: 4 | 6, reachable: Reachable, nameServer: NameServerPorts | undefined): NftTable {
  const ip = family === 4 ? "ip" : "ip6";
  const { sets, counts } = partsOf(family, reachable);
  const names =
    nameServer === undefined
      ? []
      : [
          `ip daddr ${nameServerAddress} udp dport 53 dnat to ${nameServerAddress}:${nameServer.udp}`,
          `ip daddr ${nameServerAddress} tcp dport 53 dnat to ${nameServerAddress}:${nameServer.tcp}`,
        ];
  const spread = (count: number): NftChain => ({
    name: chainOf(count),
    rules: [`dnat to ${ip} daddr . numgen random mod ${count} map @backends`],
  });
  return {
    name: `${ip} starling`,
    sets,
    chains: [
      ...counts.map(spread),
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

const chainOf = (count: number): string => `spread_${count}`;

/** What a table has of `reachable`: sets, and how many tasks services have. */
interface Parts {
  readonly sets: readonly NftSet[];
  readonly counts: readonly number[];
}

const parts = { 4: new WeakMap<Reachable, Parts>(), 6: new WeakMap<Reachable, Parts>() };

function partsOf(family: 4 | 6, reachable: Reachable): Parts {
  const known = parts[family].get(reachable);
  if (known !== undefined) return known;
  const made = makeParts(family, reachable);
  parts[family].set(reachable, made);
  return made;
}

function makeParts(family: 4 | 6, { services, dead }: Reachable): Parts {
  const [ip, type] = family === 4 ? ["ip", "ipv4_addr"] : ["ip6", "ipv6_addr"];
  const ofFamily = (address: string) => address.includes(":") === (family === 6);
  const virtual = new Map<string, string>();
  const backends = new Map<string, string>();
  const empty = new Map<string, string>();
  const counts = new Set<number>();
  for (const service of services) {
    const { virtualIp } = service;
    if (!ofFamily(virtualIp)) continue;
    if (service.backends.length === 0) {
      empty.set(virtualIp, "");
      continue;
    }
    counts.add(service.backends.length);
    virtual.set(virtualIp, `goto ${chainOf(service.backends.length)}`);
    service.backends.forEach((address, position) => {
      backends.set(`${virtualIp} . ${position}`, address);
    });
  }
  return {
    sets: [
      { name: "virtual", type, value: "verdict", elements: virtual },
      {
        name: "backends",
        type: `typeof ${ip} daddr . numgen random mod 65536`,
        value: `${ip} daddr`,
        elements: backends,
      },
      { name: "empty", type, elements: empty },
      { name: "dead", type, elements: new Map(dead.filter(ofFamily).map((address) => [address, ""])) },
    ],
    counts: [...counts].sort((a, b) => a - b),
  };
}
