/** Pure: no clock, no I/O, no randomness. */
import type { NftChain, NftSet, NftTable } from "./nft-table.ts";
import { stickyTask } from "./sticky.ts";

/** A service as a task reaches it. */
export interface VirtualService {
  readonly virtualIp: string;
  readonly networkId: string;
  /** Addresses of the tasks that take connections, on the same network. */
  readonly backends: readonly string[];
  /** All connections of a client go to the same task. */
  readonly sticky: boolean;
}

/** An address of the task that the tables are for. */
export interface OwnAddress {
  readonly networkId: string;
  readonly address: string;
}

/** What lies on a task's networks; or a part: what changed, as it was or is. */
export interface Reachable {
  readonly services: readonly VirtualService[];
  /** Of how many tasks services that are not sticky have, in each family. */
  readonly spreads: readonly SpreadCount[];
  /** Addresses of both families whose task is gone. */
  readonly dead: readonly string[];
}

export interface SpreadCount {
  readonly family: 4 | 6;
  readonly tasks: number;
}

/** The task that tables are for. */
export interface TableTask {
  readonly nameServer: NameServerPorts | undefined;
  readonly own: readonly OwnAddress[];
}

/** Where the name server's sockets of this task are bound, at 127.0.0.11. */
export interface NameServerPorts {
  readonly udp: number;
  readonly tcp: number;
}

export const nameServerAddress = "127.0.0.11";

/**
 * The tables of a task's network namespace; the one for IPv6 only where the task has IPv6 addresses among its `own`.
 */
export function taskTables(reachable: Reachable, task: TableTask): readonly NftTable[] {
  const tables = [taskTable(4, reachable, task)];
  if (!task.own.some(({ address }) => isOf(6, address))) return tables;
  return [...tables, taskTable(6, reachable, { ...task, nameServer: undefined })];
}

/**
 * Table of one family: connections to a virtual IP go to one of the service's tasks, drawn anew for each connection and any
 * protocol (so that ping answers too); a service without tasks refuses at once; connections to tasks that are gone
 * are reset; port 53 of the name server's address leads to its sockets, which stand on ports of their own lest the
 * task wants 53 for itself.
 *
 * All services with as many tasks share a chain, which draws a number and looks up the virtual IP and the number: a change
 * of a task changes elements only, and costs the same whatever else there is. A sticky service has one of its tasks, since
 * the task whose table it is is the only client here.
 */
function taskTable(family: 4 | 6, reachable: Reachable, { nameServer, own }: TableTask): NftTable {
  const ip = family === 4 ? "ip" : "ip6";
  const { sets, counts, sticky } = makeParts(family, reachable);
  const names =
    nameServer === undefined
      ? []
      : [
          `ip daddr ${nameServerAddress} udp dport 53 dnat to ${nameServerAddress}:${nameServer.udp}`,
          `ip daddr ${nameServerAddress} tcp dport 53 dnat to ${nameServerAddress}:${nameServer.tcp}`,
        ];
  const reset = "meta l4proto tcp reject with tcp reset";
  const refusals = [
    { name: "refused_all", rules: [reset, "reject"] },
    { name: "refused_tcp", rules: [reset] },
    // Every packet passes it.
    {
      name: "filter_output",
      hook: "type filter hook output priority 0",
      rules: [`${ip} daddr vmap @refused`],
    },
  ];
  const spread = (count: number): NftChain => ({
    name: chainOf(count),
    rules: [`dnat to ${ip} daddr . numgen random mod ${count} map @backends`],
  });
  return {
    name: `${ip} starling`,
    sets: [...sets, stickySet(family, sticky, own)],
    chains: [
      ...counts.map(spread),
      {
        name: "nat_output",
        hook: "type nat hook output priority -100",
        rules: [...names, `${ip} daddr vmap @virtual`, `dnat to ${ip} daddr map @sticky`],
      },
      ...refusals,
    ],
  };
}

const typeOf = (family: 4 | 6): string => (family === 4 ? "ipv4_addr" : "ipv6_addr");
export const isOf = (family: 4 | 6, address: string): boolean => address.includes(":") === (family === 6);

function stickySet(family: 4 | 6, services: readonly VirtualService[], own: readonly OwnAddress[]): NftSet {
  const elements = services.flatMap(({ virtualIp, networkId, backends }) => {
    const client = own.find((one) => one.networkId === networkId && isOf(family, one.address));
    const task = client && stickyTask(client.address, backends);
    return task === undefined ? [] : [[virtualIp, task] as const];
  });
  const type = typeOf(family);
  return { name: "sticky", type, value: type, elements: new Map(elements) };
}

const chainOf = (count: number): string => `spread_${count}`;

/** What a table has of `reachable`: sets, how many tasks services have, and those services that are sticky. */
interface Parts {
  readonly sets: readonly NftSet[];
  readonly counts: readonly number[];
  readonly sticky: readonly VirtualService[];
}

function makeParts(family: 4 | 6, { services, spreads, dead }: Reachable): Parts {
  const ip = family === 4 ? "ip" : "ip6";
  const type = typeOf(family);
  const virtual = new Map<string, string>();
  const backends = new Map<string, string>();
  // Virtual IPs of services without tasks, and addresses of tasks that are gone.
  const refused = new Map(
    dead.filter((address) => isOf(family, address)).map((address) => [address, "goto refused_tcp"]),
  );
  const sticky: VirtualService[] = [];
  for (const service of services) {
    const { virtualIp } = service;
    if (!isOf(family, virtualIp)) continue;
    if (service.backends.length === 0) {
      refused.set(virtualIp, "goto refused_all");
      continue;
    }
    if (service.sticky) {
      sticky.push(service);
      continue;
    }
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
      { name: "refused", type, value: "verdict", elements: refused },
    ],
    sticky,
    counts: spreads.flatMap((spread) => (spread.family === family ? spread.tasks : [])).sort((a, b) => a - b),
  };
}
