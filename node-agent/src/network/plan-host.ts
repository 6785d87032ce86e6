/** Pure: no clock, no I/O, no randomness. */
import { type Request, rtnetlink } from "@starling/native/net";
import { type HostLink, type HostNetwork, type HostRoute, unpair } from "./host-network.ts";
import { markBase, markMask, returnTable } from "./names.ts";

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
  | { readonly kind: "rule" };

/**
 * The difference. Devices of tasks (veth) are made by attaching and end with their namespace: the plan neither makes nor
 * removes them. Bridges of networks that still have ports stay, whatever is desired, so that a restart tears nothing down.
 */
export function planHost(desired: HostNetwork, observed: HostNetwork): HostPlan {
  const deleteLinks: string[] = [];
  const createLinks: string[] = [];
  const changeLinks: string[] = [];
  const bridgesInUse = new Set<string>();
  for (const link of observed.links.values()) if (link.kind === "veth" && link.master) bridgesInUse.add(link.master);
  for (const [name, link] of observed.links) {
    if (link.kind === "veth" || desired.links.has(name)) continue;
    if (!bridgesInUse.has(link.kind === "bridge" ? name : (link.master ?? ""))) deleteLinks.push(name);
  }
  for (const [name, link] of desired.links) {
    const old = observed.links.get(name);
    if (old === undefined) {
      if (link.kind !== "veth") createLinks.push(name);
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
  const before = entriesOf(observed);
  const after = entriesOf(desired);
  // Entries of a task's device that nobody speaks for (yet, after a restart) end with the device.
  const ours = (device: string) => desired.links.has(device) || observed.links.get(device)?.kind !== "veth";
  const dropEntries = [...before]
    .filter(([key, entry]) => !after.has(key) && entryDevices(entry).every((device) => !lost(device) && ours(device)))
    .map(([, entry]) => entry);
  const addEntries = [...after]
    .filter(([key, entry]) => {
      const devices = entryDevices(entry);
      if (!devices.every(there)) return false;
      const old = before.get(key);
      return old === undefined || devices.some(lost) || JSON.stringify(old) !== JSON.stringify(entry);
    })
    .map(([, entry]) => entry);
  return { deleteLinks, createLinks, changeLinks, dropEntries, addEntries };
}

export const isEmptyPlan = (plan: HostPlan): boolean =>
  Object.values(plan).every((list: readonly unknown[]) => list.length === 0);

function sameVxlan(a: HostLink, b: HostLink): boolean {
  if (b.vxlan === undefined) return a.vxlan === undefined;
  return (
    a.vxlan !== undefined &&
    a.vxlan.vni === b.vxlan.vni &&
    a.vxlan.local === b.vxlan.local &&
    a.vxlan.port === b.vxlan.port
  );
}

function entriesOf(network: HostNetwork): ReadonlyMap<string, Entry> {
  const entries = new Map<string, Entry>();
  for (const key of network.addresses) {
    const [device, address] = unpair(key);
    entries.set(`address|${key}`, { kind: "address", device, address });
  }
  for (const [key, mac] of network.neighbours) {
    const [device, address] = unpair(key);
    entries.set(`neighbour|${key}`, { kind: "neighbour", device, address, mac });
  }
  for (const [key, destination] of network.forwarding) {
    const [device, mac] = unpair(key);
    entries.set(`forwarding|${key}`, { kind: "forwarding", device, mac, destination });
  }
  for (const [key, route] of network.routes) entries.set(`route|${key}`, { kind: "route", route: normal(route) });
  if (network.returnRule) entries.set("rule", { kind: "rule" });
  return entries;
}

/** One order of fields and no undefined ones, so that texts compare. */
function normal(route: HostRoute): HostRoute {
  return {
    destination: route.destination,
    table: route.table ?? 254,
    ...(route.device === undefined ? {} : { device: route.device }),
    ...(route.gateway === undefined ? {} : { gateway: route.gateway }),
  };
}

function entryDevices(entry: Entry): readonly string[] {
  if (entry.kind === "rule") return [];
  if (entry.kind === "route") return entry.route.device === undefined ? [] : [entry.route.device];
  return [entry.device];
}

/** Requests that delete devices and make new ones. A port's bridge must be made before (`indexes`), hence two rounds. */
export function linkRequests(
  plan: HostPlan,
  desired: HostNetwork,
  kinds: "bridges" | "others",
  indexes: ReadonlyMap<string, number>,
): readonly Request[] {
  const requests: Request[] = kinds === "bridges" ? plan.deleteLinks.map(rtnetlink.deleteLink) : [];
  for (const name of plan.createLinks) {
    const link = desired.links.get(name)!;
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
    const link = desired.links.get(name)!;
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

/** Requests for entries; `indexes` knows every device named. */
export function entryRequests(plan: HostPlan, indexes: ReadonlyMap<string, number>): readonly Request[] {
  const index = (device: string): number => indexes.get(device) ?? 0;
  return [
    ...plan.dropEntries.map((entry) => dropEntry(entry, index)),
    ...plan.addEntries.map((entry) => addEntry(entry, index)),
  ];
}

const rule = { family: 4, priority: 100, mark: markBase, mask: markMask, table: returnTable } as const;

function routeOptions(route: HostRoute, index: (device: string) => number): rtnetlink.RouteOptions {
  return {
    destination: route.destination,
    ...(route.table === undefined ? {} : { table: route.table }),
    ...(route.device === undefined ? { kind: "throw" as const } : { index: index(route.device) }),
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
      return rtnetlink.addRule(rule);
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
      return rtnetlink.deleteRule(rule);
  }
}
