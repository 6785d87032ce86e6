import {
  decodeAddresses,
  decodeForwarding,
  decodeLinks,
  decodeNeighbours,
  decodeReplies,
  decodeRoutes,
  decodeRules,
  type Link,
  rtnetlink,
  runSteps,
  trafficControl,
} from "@starling/native/net";
import { isV6, type RecoveredTask } from "./desired.ts";
import { isTunnelDevice } from "./encryption/addresses.ts";
import { type HostLink, type HostNetwork, type HostRoute, pair, routeKey } from "./host-network.ts";
import { isOurs, markMask, meshes, routedPrefix } from "./names.ts";
import { vlanAlias } from "./parent-device.ts";

/** The host's network as the kernel has it: what is ours of it, the indexes of all devices, and the underlays' MTUs. */
export interface Observation {
  readonly network: HostNetwork;
  readonly indexes: ReadonlyMap<string, number>;
  /** Names of VLAN devices that we made. */
  readonly vlans: readonly string[];
  /** MTU in bytes of the device that has the address, by address. */
  readonly mtus: ReadonlyMap<string, number>;
  /** The host's own addresses, those on devices of ours aside. */
  readonly hostAddresses: readonly string[];
  /** Devices of the host's own by which packets come to an IPv4 address of it, and on which nobody else has filters for them (tc). */
  readonly clientDevices: readonly string[];
  /** How long conntrack keeps an established TCP connection that is silent; undefined: it is not there. */
  readonly patience: Patience | undefined;
  /** Tasks' default-route interfaces, with the address behind each. */
  readonly routed: readonly RecoveredTask[];
  /** Devices that take router advertisements, and would not once the host forwards. */
  readonly routeLearners: readonly string[];
}

export interface Patience {
  /** All of it is acknowledged. */
  readonly silentMs: number;
  readonly unacknowledgedMs: number;
}

/** Where VXLAN packets of a node, which is this host, leave, and the MTU of the device there in bytes. */
export function underlayOf(
  { mtus }: Observation,
  node: { readonly underlayAddress: string } | undefined,
): { readonly mtu: number; readonly address: string } {
  const address = node?.underlayAddress ?? "";
  return { mtu: mtus.get(address) ?? 1500, address };
}

const patiencePaths = ["established", "unacknowledged"].map(
  (state) => `/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_${state}`,
);

function patienceOf(texts: readonly string[]): Patience | undefined {
  const [silentMs = 0, unacknowledgedMs = 0] = texts.map((seconds) => Number(seconds) * 1000);
  if (silentMs === 0) return undefined;
  return { silentMs, unacknowledgedMs: Math.min(silentMs, unacknowledgedMs || silentMs) };
}

/** Those of the devices, by index, that nobody else has filters on. */
async function withoutFilters(
  netns: string | undefined,
  devices: ReadonlyMap<number, string>,
): Promise<readonly string[]> {
  const steps = Array.from(devices.keys(), (index) => ({
    ...{ type: "netlink" as const, protocol: rtnetlink.routeProtocol },
    requests: [trafficControl.getFilters(index)],
  }));
  const results = steps.length === 0 ? [] : await runSteps(netns, steps);
  return [...devices.values()].filter(
    (_, position) => !trafficControl.hasOthersFilters(decodeReplies(results[position]!.replies)),
  );
}

/** Lists the kernel's tables in the host's namespace (undefined: the process's own); without what hangs on devices when only they are asked for. */
export async function observeHost(netns: string | undefined, what: "all" | "devices"): Promise<Observation> {
  const { getLinks, getAddresses, getRoutes, getNeighbours, getForwarding, getRules, routeProtocol } = rtnetlink;
  const entries = what === "all" ? [getRoutes(), getNeighbours(), getForwarding(), getRules()] : [];
  const lists = [getLinks(), getAddresses(), ...entries];
  const [files, ...results] = await runSteps(netns, [
    { type: "files", paths: patiencePaths },
    ...lists.map((request) => ({ type: "netlink" as const, protocol: routeProtocol, requests: [request] })),
  ]);
  const [links, addresses, routes = [], neighbours = [], forwarding = [], rules = []] = results.map((result) =>
    decodeReplies(result.replies),
  );
  const devices = decodeLinks(links!);
  const names = new Map(devices.map((link) => [link.index, link.name]));
  const ruleList = decodeRules(rules);
  const mine = (index: number): string | undefined => {
    const name = names.get(index);
    return name !== undefined && isOurs(name) ? name : undefined;
  };
  const allAddresses = decodeAddresses(addresses!);
  const byIndex = new Map(devices.map((link) => [link.index, link]));
  const routesFound = new Map<string, HostRoute>();
  for (const route of decodeRoutes(routes)) {
    if (route.protocol !== rtnetlink.ourRouteProtocol) continue;
    const device = mine(route.index);
    const found: HostRoute = {
      destination: route.destination,
      table: route.table,
      ...(device === undefined ? {} : { device }),
      ...(route.gateway === "" ? {} : { gateway: route.gateway }),
      ...(route.kind === rtnetlink.routeTypes.local ? { local: true as const } : {}),
    };
    routesFound.set(routeKey(found), found);
  }
  const network: HostNetwork = {
    links: new Map(devices.filter((link) => isOurs(link.name)).map((link) => [link.name, hostLink(link, names)])),
    addresses: new Set(
      allAddresses.flatMap(({ index, address }) => {
        const name = mine(index);
        return name === undefined ? [] : [pair(name, address)];
      }),
    ),
    routes: routesFound,
    neighbours: new Map(
      decodeNeighbours(neighbours).flatMap((entry) => {
        const name = mine(entry.index);
        // Tunnels need none; the kernel notes whom they reach all the same, and its multicast groups (ff00::/8) on all devices.
        const none = name === undefined || !entry.permanent || isTunnelDevice(name) || entry.address.startsWith("ff");
        return none ? [] : [[pair(name, entry.address), entry.mac] as const];
      }),
    ),
    forwarding: new Map(
      decodeForwarding(forwarding).flatMap((entry) => {
        const name = mine(entry.index);
        // The kernel's own entries: multicast groups, and in a bridge its own MAC and that of each port, which may look like a task's.
        const isKernels = !entry.mac.startsWith("02:42:") || entry.mac === byIndex.get(entry.index)?.mac;
        const own = entry.destination === "" && isKernels;
        return name === undefined || own || !entry.permanent
          ? []
          : [[pair(name, entry.mac), entry.destination] as const];
      }),
    ),
    returnTables: new Set(
      meshes.flatMap(({ table, markBase }) =>
        ruleList
          .filter((rule) => rule.table === table && rule.mark === markBase && rule.mask === markMask)
          .map((rule) => pair(String(rule.family), String(table))),
      ),
    ),
  };
  const clientDevices = new Map(
    allAddresses.flatMap(({ index, address, isGlobal }) => {
      const { name = "", isEthernet = false } = byIndex.get(index) ?? {};
      return isGlobal && !isV6(address) && isEthernet && !isOurs(name) ? [[index, name] as const] : [];
    }),
  );
  return {
    network,
    indexes: new Map(devices.map((link) => [link.name, link.index])),
    routed: [...routesFound.values()].flatMap(({ device, destination }) =>
      device?.startsWith(routedPrefix) && !isV6(destination) ? { device, address: destination.split("/")[0]! } : [],
    ),
    vlans: devices.filter(({ kind, alias }) => kind === "vlan" && alias === vlanAlias).map(({ name }) => name),
    hostAddresses: allAddresses.flatMap(({ index, address, isGlobal }) =>
      isGlobal && mine(index) === undefined ? [address.split("/")[0]!] : [],
    ),
    clientDevices: await withoutFilters(netns, clientDevices),
    patience: patienceOf(files.texts),
    routeLearners: devices.flatMap(({ name, ipv6 }) =>
      ipv6?.forwarding === 0 && ipv6.acceptRa === 1 && !isOurs(name) ? [name] : [],
    ),
    mtus: new Map(allAddresses.map(({ index, address }) => [address.split("/")[0]!, byIndex.get(index)?.mtu ?? 1500])),
  };
}

/** What is seen once devices of ours were made besides, with nothing on them. */
export function withDevices(
  { network, indexes }: Observation,
  made: readonly Link[],
): Pick<Observation, "network" | "indexes"> {
  const names = new Map(Array.from(indexes, ([name, index]) => [index, name]));
  return {
    network: {
      ...network,
      links: new Map([...network.links, ...made.map((link) => [link.name, hostLink(link, names)] as const)]),
    },
    indexes: new Map([...indexes, ...made.map(({ name, index }) => [name, index] as const)]),
  };
}

function hostLink(link: Link, names: ReadonlyMap<number, string>): HostLink {
  const bridged = link.kind === "bridge" || link.kind === "vxlan" ? link.kind : "veth";
  const kind = isTunnelDevice(link.name) ? "tunnel" : bridged;
  const master = names.get(link.master);
  return {
    kind,
    mtu: link.mtu,
    mac: link.mac,
    ...(link.master !== 0 && master !== undefined ? { master } : {}),
    ...(link.vxlan === undefined
      ? {}
      : { vxlan: { vni: link.vxlan.vni, local: link.vxlan.local, port: link.vxlan.port, proxy: true } }),
  };
}
