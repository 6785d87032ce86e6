/** Pure: no clock, no I/O, no randomness. */
import { type BalancerChange, type BalancerMap, ipBytes } from "@starling/native/net";
import { u32, u64 } from "./map-bytes.ts";
import { isOf, type OwnAddress, type VirtualService } from "./nft-task.ts";
import { stickyTask } from "./sticky.ts";

/** A task here, as the programs know it. */
export interface BalancedTask {
  /** Of its network namespace. */
  readonly cookie: bigint;
  readonly own: readonly OwnAddress[];
}

/** An entry of one of the maps; bytes as hexadecimal digits. */
export interface Entry {
  readonly map: BalancerMap;
  readonly key: string;
  readonly value: string;
}

/** Values by key. */
export type Entries = Readonly<Record<BalancerMap, ReadonlyMap<string, string>>>;

/** IPv4 as ::ffff:a.b.c.d. */
const addressHex = (address: string): string =>
  (address.includes(":") ? "" : `${"00".repeat(10)}ffff`) + Buffer.from(ipBytes(address)).toString("hex");

/** Most networks of a task that the programs look at; what lies on others is left to its tables. */
const networksMax = 10;

/** A service on the network of that number; none without tasks, which the tables refuse. */
export function serviceEntries(vni: number, { virtualIp, backends, sticky }: VirtualService): readonly Entry[] {
  if (backends.length === 0) return [];
  const key = u32(vni) + addressHex(virtualIp);
  const slots = backends.map(
    (task, slot) => ({ map: "slots", key: key + u32(slot), value: addressHex(task) }) as const,
  );
  return [...slots, { map: "services", key, value: u32(backends.length) + u32(sticky ? 1 : 0) }];
}

/** Which task of a sticky service the client goes to; none when it is not on that network. */
export function stickyEntries(vni: number, service: VirtualService, { cookie, own }: BalancedTask): readonly Entry[] {
  const { virtualIp, networkId, backends, sticky } = service;
  const family = virtualIp.includes(":") ? 6 : 4;
  const client = own.find((one) => one.networkId === networkId && isOf(family, one.address));
  const task = sticky && client !== undefined ? stickyTask(client.address, backends) : undefined;
  if (task === undefined) return [];
  const key = `${u64(cookie)}${u32(vni)}${addressHex(virtualIp)}${u32(0)}`;
  return [{ map: "sticky", key, value: addressHex(task) }];
}

/** Which networks a task is on, in the order in which they are looked at. */
export function networksEntry(cookie: bigint, vnis: readonly number[]): Entry {
  const value = Array.from({ length: networksMax }, (_, place) => u32(vnis[place] ?? 0)).join("");
  return { map: "networks_of", key: u64(cookie), value };
}

/** By map. */
export function entriesOf(list: Iterable<Entry>): Entries {
  const entries: Record<BalancerMap, Map<string, string>> = {
    networks_of: new Map<string, string>(),
    services: new Map<string, string>(),
    slots: new Map<string, string>(),
    sticky: new Map<string, string>(),
  };
  for (const { map, key, value } of list) entries[map].set(key, value);
  return entries;
}

/** What is set first and deleted last, so that at any moment each slot that a service counts is there. */
const settingOrder: readonly BalancerMap[] = ["slots", "services", "sticky", "networks_of"];

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
