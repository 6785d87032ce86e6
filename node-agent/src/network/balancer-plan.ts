/** Pure: no clock, no I/O, no randomness. */
import { type BalancerChange, type BalancerMap, ipBytes } from "@starling/native/net";
import { isOf, type OwnAddress, type VirtualService } from "./nft-task.ts";
import { stickyTask } from "./sticky.ts";

/** A task here, as the programs know it. */
export interface BalancedTask {
  /** Of its network namespace. */
  readonly cookie: bigint;
  readonly own: readonly OwnAddress[];
}

interface Entry {
  readonly map: BalancerMap;
  readonly key: string;
  readonly value: string;
}

export type Entries = Readonly<Record<BalancerMap, ReadonlyMap<string, string>>>;

/** Something whose entries change together: a service on a network, a task's networks, or a client's place at a sticky service. */
export interface BalancerPart {
  /** Equal texts, equal entries. */
  readonly text: string;
  entries(): readonly Entry[];
}

const u32 = (value: number): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes.toString("hex");
};

const u64 = (value: bigint): string => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.toString("hex");
};

/** IPv4 as ::ffff:a.b.c.d. */
const addressHex = (address: string): string =>
  (address.includes(":") ? "" : `${"00".repeat(10)}ffff`) + Buffer.from(ipBytes(address)).toString("hex");

/** Most networks of a task that the programs look at. */
const networksMax = 10;

/**
 * All that the programs should know, by what it is about. `services` are those on networks with a task here; `vniOf` numbers a
 * network.
 */
export function balancerParts(
  services: readonly VirtualService[],
  tasks: readonly BalancedTask[],
  vniOf: (networkId: string) => number,
): ReadonlyMap<string, BalancerPart> {
  const parts = new Map<string, BalancerPart>();
  for (const service of services) {
    const { networkId, virtualIp, backends, sticky } = service;
    if (backends.length === 0) continue;
    const vni = vniOf(networkId);
    const id = `${vni} ${virtualIp}`;
    parts.set(id, { text: `${sticky} ${backends.join()}`, entries: () => serviceEntries(vni, service) });
    if (!sticky) continue;
    for (const { cookie, own } of tasks) {
      const family = virtualIp.includes(":") ? 6 : 4;
      const client = own.find((one) => one.networkId === networkId && isOf(family, one.address));
      const task = client && stickyTask(client.address, backends);
      if (task === undefined) continue;
      const key = `${u64(cookie)}${u32(vni)}${addressHex(virtualIp)}${u32(0)}`;
      parts.set(`${cookie} ${id}`, { text: task, entries: () => [{ map: "sticky", key, value: addressHex(task) }] });
    }
  }
  for (const { cookie, own } of tasks) {
    const vnis = [...new Set(own.map(({ networkId }) => vniOf(networkId)))].slice(0, networksMax);
    const value = Array.from({ length: networksMax }, (_, place) => u32(vnis[place] ?? 0)).join("");
    parts.set(String(cookie), { text: value, entries: () => [{ map: "networks_of", key: u64(cookie), value }] });
  }
  return parts;
}

function serviceEntries(vni: number, { virtualIp, backends, sticky }: VirtualService): readonly Entry[] {
  const key = u32(vni) + addressHex(virtualIp);
  const tasks = backends.map(addressHex);
  return [
    ...tasks.map((task, slot) => ({ map: "slots" as const, key: key + u32(slot), value: task }) satisfies Entry),
    ...tasks.map((task) => ({ map: "members" as const, key: key + task, value: u32(1) }) satisfies Entry),
    { map: "services", key, value: u32(tasks.length) + u32(sticky ? 1 : 0) },
  ];
}

/** The entries of parts, by map. */
export function entriesOf(parts: Iterable<BalancerPart>): Entries {
  const entries: Record<BalancerMap, Map<string, string>> = {
    networks_of: new Map<string, string>(),
    services: new Map<string, string>(),
    slots: new Map<string, string>(),
    members: new Map<string, string>(),
    sticky: new Map<string, string>(),
  };
  for (const part of parts) for (const { map, key, value } of part.entries()) entries[map].set(key, value);
  return entries;
}

/** Changes that turn `previous` into `next`; costs what differs. */
export function planParts(
  previous: ReadonlyMap<string, BalancerPart>,
  next: ReadonlyMap<string, BalancerPart>,
): readonly BalancerChange[] {
  const differs = ([id, part]: readonly [string, BalancerPart], other: ReadonlyMap<string, BalancerPart>) =>
    other.get(id)?.text !== part.text;
  const gone = [...previous].filter((entry) => differs(entry, next));
  const come = [...next].filter((entry) => differs(entry, previous));
  if (gone.length + come.length === 0) return [];
  const partsOf = (entries: readonly (readonly [string, BalancerPart])[]) => entriesOf(entries.map(([, part]) => part));
  return planEntries(partsOf(gone), partsOf(come));
}

/** What is set first and deleted last, so that at any moment each slot that a service counts is there. */
const settingOrder: readonly BalancerMap[] = ["members", "slots", "services", "sticky", "networks_of"];

/** Changes that turn `previous` into `next`, in an order in which no connection finds half of it. */
export function planEntries(previous: Entries, next: Entries): readonly BalancerChange[] {
  const changes: BalancerChange[] = [];
  for (const map of settingOrder) {
    for (const [key, value] of next[map]) if (previous[map].get(key) !== value) changes.push({ map, key, value });
  }
  for (const map of settingOrder.toReversed()) {
    for (const key of previous[map].keys()) if (!next[map].has(key)) changes.push({ map, key });
  }
  return changes;
}

/** Without entries of network namespaces that none of `known` is: tasks of before a restart that nobody has attached yet. */
export function withoutUnknown(entries: Entries, known: Iterable<bigint>): Entries {
  const cookies = new Set([...known].map(u64));
  const ours = (map: ReadonlyMap<string, string>) => new Map([...map].filter(([key]) => cookies.has(key.slice(0, 16))));
  return { ...entries, networks_of: ours(entries.networks_of), sticky: ours(entries.sticky) };
}
