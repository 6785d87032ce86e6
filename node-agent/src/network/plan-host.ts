/** Pure: no clock, no I/O, no randomness. */
import { type Request, rtnetlink } from "@starling/native/net";
import { type HostLink, type HostNetwork, type HostRoute, isMadeElsewhere, unpair } from "./host-network.ts";
import { markMask, meshes } from "./names.ts";

/** What turns the host's network as it is into what it should be. `links` first: `entries` need the devices' indexes. */
export interface HostPlan {
  /** Names of devices to delete, to create, and to create again because something of theirs can't be changed. */
  readonly deleteLinks: readonly string[];
  readonly createLinks: readonly string[];
  /** Devices that are there but with the wrong master, MTU or MAC. */
  readonly changeLinks: readonly string[];
  readonly dropEntries: readonly Entry[];
  readonly addEntries: readonly Entry[];
}

/** Something that hangs on a device. */
export type Entry =
  | { readonly kind: "address"; readonly device: string; readonly address: string }
  | { readonly kind: "route"; readonly route: HostRoute }
  | { readonly kind: "neighbour"; readonly device: string; readonly address: string; readonly mac: string }
  | { readonly kind: "forwarding"; readonly device: string; readonly mac: string; readonly destination: string }
  | { readonly kind: "rule"; readonly family: 4 | 6; readonly table: number };

/**
 * The difference. Devices of tasks (veth) and tunnels are made elsewhere and end with what made them: the plan neither makes
 * nor removes them. Bridges of networks that still have ports stay, whatever is desired, so that a restart tears nothing down.
 */
export function planHost(desired: HostNetwork, observed: HostNetwork): HostPlan {
  const deleteLinks: string[] = [];
  const createLinks: string[] = [];
  const changeLinks: string[] = [];
  const bridgesInUse = new Set<string>();
  for (const link of observed.links.values()) if (link.kind === "veth" && link.master) bridgesInUse.add(link.master);
  for (const [name, link] of observed.links) {
    if (isMadeElsewhere(link) || desired.links.has(name)) continue;
    if (!bridgesInUse.has(link.kind === "bridge" ? name : (link.master ?? ""))) deleteLinks.push(name);
  }
  for (const [name, link] of desired.links) {
    const old = observed.links.get(name);
    if (old === undefined) {
      if (!isMadeElsewhere(link)) createLinks.push(name);
    } else if (old.kind !== link.kind || !sameVxlan(old, link)) {
      deleteLinks.push(name);
      createLinks.push(name);
    } else if (old.master !== link.master || old.mtu !== link.mtu || (link.mac && old.mac !== link.mac)) {
      changeLinks.push(name);
    }
  }
  const fresh = new Set(deleteLinks);
  const made = new Set(createLinks);
  const there = (device: string) => made.has(device) || (desired.links.has(device) && observed.links.has(device));
  const lost = (device: string) => fresh.has(device);
  // Entries of a task's device that nobody speaks for (yet, after a restart) end with the device.
  const ours = (device: string) => desired.links.has(device) || !isMadeElsewhere(observed.links.get(device));
  const dropEntries: Entry[] = [];
  const addEntries: Entry[] = [];
  const compare = <T>(before: ReadonlyMap<string, T>, after: ReadonlyMap<string, T>, kind: EntryKind<T>) => {
    const { entry, same, deviceOf } = kind;
    for (const [key, value] of before) {
      if (after.has(key)) continue;
      const device = deviceOf(key, value);
      if (device === undefined || (!lost(device) && ours(device))) dropEntries.push(entry(key, value));
    }
    for (const [key, value] of after) {
      const old = before.get(key);
      if (old !== undefined && same(old, value) && fresh.size === 0) continue;
      const device = deviceOf(key, value);
      if (device !== undefined && !there(device)) continue;
      if (old === undefined || !same(old, value) || (device !== undefined && lost(device)))
        addEntries.push(entry(key, value));
    }
  };
  compare(presence(observed.addresses), presence(desired.addresses), addressEntries);
  compare(observed.neighbours, desired.neighbours, neighbourEntries);
  compare(observed.forwarding, desired.forwarding, forwardingEntries);
  compare(observed.routes, desired.routes, routeEntries);
  compare(presence(observed.returnTables), presence(desired.returnTables), ruleEntries);
  return { deleteLinks, createLinks, changeLinks, dropEntries, addEntries };
}

/** How entries of one kind are compared and named; `deviceOf` is undefined for those that hang on none. */
interface EntryKind<T> {
  entry(key: string, value: T): Entry;
  same(a: T, b: T): boolean;
  deviceOf(key: string, value: T): string | undefined;
}

const presence = (keys: Iterable<string>): ReadonlyMap<string, true> =>
  new Map(Array.from(keys, (key) => [key, true] as const));
const identical = <T>(a: T, b: T): boolean => a === b;
const deviceOfKey = (key: string): string => unpair(key)[0];

const addressEntries: EntryKind<true> = {
  entry(key) {
    const [device, address] = unpair(key);
    return { kind: "address", device, address };
  },
  same: identical,
  deviceOf: deviceOfKey,
};

const neighbourEntries: EntryKind<string> = {
  entry(key, mac) {
    const [device, address] = unpair(key);
    return { kind: "neighbour", device, address, mac };
  },
  same: identical,
  deviceOf: deviceOfKey,
};

const forwardingEntries: EntryKind<string> = {
  entry(key, destination) {
    const [device, mac] = unpair(key);
    return { kind: "forwarding", device, mac, destination };
  },
  same: identical,
  deviceOf: deviceOfKey,
};

const routeEntries: EntryKind<HostRoute> = {
  entry: (_, route) => ({ kind: "route", route }),
  same: (a, b) =>
    a.destination === b.destination &&
    (a.table ?? mainTable) === (b.table ?? mainTable) &&
    a.device === b.device &&
    a.gateway === b.gateway,
  deviceOf: (_, { device }) => device,
};

const ruleEntries: EntryKind<true> = {
  entry(key) {
    const [family, table] = unpair(key);
    return { kind: "rule", family: family === "6" ? 6 : 4, table: Number(table) };
  },
  same: identical,
  deviceOf: () => undefined,
};
const mainTable = 254;

export const isEmptyPlan = (plan: HostPlan): boolean =>
  Object.values(plan).every((list: readonly unknown[]) => list.length === 0);

function sameVxlan(a: HostLink, b: HostLink): boolean {
  if (b.vxlan === undefined) return a.vxlan === undefined;
  return (
    a.vxlan !== undefined &&
    a.vxlan.vni === b.vxlan.vni &&
    // The kernel doesn't tell "any address".
    a.vxlan.local === b.vxlan.local.replace(/^::$/, "") &&
    a.vxlan.port === b.vxlan.port
  );
}

/** Requests that delete devices and make new ones. A port's bridge must be made before (`indexes`), hence two rounds. */
export function linkRequests(
  plan: HostPlan,
  links: HostNetwork["links"],
  kinds: "bridges" | "others",
  indexes: ReadonlyMap<string, number>,
): readonly Request[] {
  const requests: Request[] = kinds === "bridges" ? plan.deleteLinks.map(rtnetlink.deleteLink) : [];
  for (const name of plan.createLinks) {
    const link = links.get(name)!;
    if ((link.kind === "bridge") !== (kinds === "bridges")) continue;
    const master = link.master === undefined ? undefined : indexes.get(link.master);
    const options = {
      name,
      mtu: link.mtu,
      up: true,
      ...(link.mac === undefined ? {} : { mac: link.mac }),
      ...(master === undefined ? {} : { master }),
    };
    if (link.kind === "bridge") requests.push(rtnetlink.createBridge(options));
    else if (link.vxlan !== undefined) requests.push(rtnetlink.createVxlan(options, link.vxlan));
    if (link.master !== undefined)
      requests.push(rtnetlink.setBridgePort(name, { learning: false, unicastFlood: true }));
  }
  if (kinds === "bridges") return requests;
  for (const name of plan.changeLinks) {
    const link = links.get(name)!;
    const master = link.master === undefined ? undefined : indexes.get(link.master);
    requests.push(
      rtnetlink.setLink({
        name,
        mtu: link.mtu,
        up: true,
        ...(link.mac === undefined ? {} : { mac: link.mac }),
        ...(master === undefined ? {} : { master }),
      }),
    );
    if (link.master !== undefined) {
      requests.push(rtnetlink.setBridgePort(name, { learning: false, unicastFlood: link.kind === "vxlan" }));
    }
  }
  return requests;
}

/** Entries whose requests are made at a time: those of a whole cluster are never in memory all at once. */
const piece = 500;

/**
 * Requests for entries, in pieces; `indexes` knows every device named. Addresses come before the old ones go: with a device's last IPv4
 * address the kernel takes all IPv4 routes by that device (Linux, fib_disable_ip).
 */
export function* entryRequests(plan: HostPlan, indexes: ReadonlyMap<string, number>): Iterable<readonly Request[]> {
  const index = (device: string): number => indexes.get(device) ?? 0;
  const isAddress = ({ kind }: Entry) => kind === "address";
  for (const [entries, request] of [
    [plan.addEntries.filter(isAddress), addEntry],
    [plan.dropEntries, dropEntry],
    [plan.addEntries.filter((entry) => !isAddress(entry)), addEntry],
  ] as const)
    for (let from = 0; from < entries.length; from += piece)
      yield entries.slice(from, from + piece).map((entry) => request(entry, index));
}

function ruleOptions({ family, table }: { family: 4 | 6; table: number }): rtnetlink.RuleOptions {
  const { markBase } = meshes.find((mesh) => mesh.table === table)!;
  return { family, priority: 100, mark: markBase, mask: markMask, table };
}

function routeOptions(route: HostRoute, index: (device: string) => number): rtnetlink.RouteOptions {
  return {
    destination: route.destination,
    ...(route.table === undefined ? {} : { table: route.table }),
    ...(route.device === undefined ? { kind: "throw" as const } : { index: index(route.device) }),
    ...(route.local ? { kind: "local" as const } : {}),
    ...(route.gateway === undefined ? {} : { gateway: route.gateway, onlink: true }),
  };
}

function addEntry(entry: Entry, index: (device: string) => number): Request {
  switch (entry.kind) {
    case "address":
      return rtnetlink.addAddress(index(entry.device), entry.address);
    case "route":
      return rtnetlink.addRoute(routeOptions(entry.route, index));
    case "neighbour":
      return rtnetlink.addNeighbour({ index: index(entry.device), address: entry.address, mac: entry.mac });
    case "forwarding":
      return rtnetlink.addForwarding({
        index: index(entry.device),
        mac: entry.mac,
        ...(entry.destination === "" ? {} : { destination: entry.destination }),
      });
    case "rule":
      return rtnetlink.addRule(ruleOptions(entry));
  }
}

function dropEntry(entry: Entry, index: (device: string) => number): Request {
  switch (entry.kind) {
    case "address":
      return rtnetlink.deleteAddress(index(entry.device), entry.address);
    case "route":
      return rtnetlink.deleteRoute(routeOptions(entry.route, index));
    case "neighbour":
      return rtnetlink.deleteNeighbour({ index: index(entry.device), address: entry.address });
    case "forwarding":
      return rtnetlink.deleteForwarding({
        index: index(entry.device),
        mac: entry.mac,
        on: entry.destination === "" ? "master" : "self",
      });
    case "rule":
      return rtnetlink.deleteRule(ruleOptions(entry));
  }
}
