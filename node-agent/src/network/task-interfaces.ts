/** Pure: no clock, no I/O, no randomness. */
import { type Request, rtnetlink, type Sysctl } from "@starling/native/net";
import type { Attachment, ParentAttachment } from "./attachment.ts";
import { isV6 } from "./desired.ts";
import { macOf, meshAddress6, nextHop6, portOf, routedGateway, routedMac, routedOf } from "./names.ts";

/** A device of the task's, and of a pair the host's end. */
export interface TaskInterface {
  /** The host's end; of a device on the host's own network, which has none, the name that it is made by. */
  readonly hostDevice: string;
  /** eth0: the way out by this host; eth1 and on: networks of the cluster. */
  readonly device: string;
  readonly cidr: string;
  readonly cidr6?: string | undefined;
  readonly mtu: number;
  /** Whether it is the way out by this host. */
  readonly defaultRoute: boolean;
  readonly parent?: TaskParent;
}

/** What a device on the host's own network is made on. */
export interface TaskParent {
  readonly driver: ParentAttachment["driver"];
  readonly mode: string;
  /** Its index. */
  readonly device: number;
  readonly gateways: readonly string[];
}

/** By which a task with a way out by the hosts' network answers what came to its eth0. */
const returnTable = 100;

/** The interfaces of a task. `routed` is the address of its way out. */
export function interfacesOf(
  taskId: string,
  attachment: Attachment,
  options: {
    readonly routed: string | undefined;
    /** Whether its way out has IPv6, too. */
    readonly ipv6: boolean;
    readonly routedMtu: number;
    readonly overlayMtu: (networkId: string) => number;
    /** Index and MTU of the devices that networks have here as parents, by network. */
    readonly parents: ReadonlyMap<string, { readonly index: number; readonly mtu: number }>;
  },
): readonly TaskInterface[] {
  const interfaces: TaskInterface[] = [];
  if (options.routed !== undefined) {
    interfaces.push({
      hostDevice: routedOf(taskId),
      device: "eth0",
      cidr: `${options.routed}/32`,
      cidr6: options.ipv6 ? `${meshAddress6(options.routed)}/128` : undefined,
      mtu: options.routedMtu,
      defaultRoute: true,
    });
  }
  attachment.overlays.forEach((overlay, position) => {
    const { parent } = overlay;
    const on = options.parents.get(overlay.networkId);
    interfaces.push({
      hostDevice: portOf(taskId, position),
      device: `eth${position + 1}`,
      cidr: overlay.cidr,
      cidr6: overlay.cidr6,
      mtu: parent === undefined ? options.overlayMtu(overlay.networkId) : parent.mtu || (on?.mtu ?? 0),
      defaultRoute: false,
      ...(parent === undefined ? {} : { parent: { ...parent, device: on?.index ?? 0 } }),
    });
  });
  return interfaces;
}

/**
 * Makes the device on the host's own network, in the namespace of `netnsFd`. Kernels before 6.15 refuse a name there that some
 * device of the host has: so it gets its own only there.
 */
export function createOnParent({ hostDevice, cidr, mtu }: TaskInterface, parent: TaskParent, netnsFd: number): Request {
  const link = { name: hostDevice, mtu, netnsFd };
  const on = { parent: parent.device, mode: parent.mode };
  if (parent.driver === "ipvlan") return rtnetlink.createIpvlan(link, on);
  return rtnetlink.createMacvlan({ ...link, mac: macOf(cidr.split("/")[0]!) }, on);
}

/** Makes the pair, the task's end in the namespace of `netnsFd`; the host's end becomes a port of `master` if given. */
export function createRequests(
  task: TaskInterface,
  options: { readonly taskId: string; readonly netnsFd: number; readonly master: number | undefined },
): readonly Request[] {
  const { master } = options;
  const host = {
    name: task.hostDevice,
    mtu: task.mtu,
    up: true,
    ...(task.defaultRoute ? { mac: routedMac } : {}),
    ...(master === undefined ? {} : { master }),
  };
  const peer = {
    name: task.device,
    mac: macOf(task.cidr.split("/")[0]!),
    mtu: task.mtu,
    netnsFd: options.netnsFd,
  };
  const requests = [
    rtnetlink.createVeth(host, peer),
    rtnetlink.setLink({ name: task.hostDevice, alias: `task ${options.taskId}` }),
  ];
  if (master !== undefined) {
    requests.push(rtnetlink.setBridgePort(task.hostDevice, { learning: false, unicastFlood: false }));
  }
  return requests;
}

/** What is done inside the task's namespace: addresses, interfaces up, the default route. Repeatable. */
export function configureRequests(
  interfaces: readonly TaskInterface[],
  indexes: ReadonlyMap<string, number>,
): readonly Request[] {
  const requests: Request[] = [];
  const waysOut = new Set<"4" | "6">();
  for (const { device, cidr, cidr6, parent } of interfaces) {
    const index = indexes.get(device) ?? 0;
    requests.push(rtnetlink.addAddress(index, cidr), rtnetlink.setLink({ index, up: true }));
    if (cidr6 !== undefined) requests.push(rtnetlink.addAddress(index, cidr6));
    for (const gateway of parent?.gateways ?? []) {
      const family = isV6(gateway) ? "6" : "4";
      if (waysOut.has(family)) continue;
      waysOut.add(family);
      const destination = family === "6" ? "::/0" : "0.0.0.0/0";
      // Beyond layer 2 nobody is asked for a gateway's MAC.
      const by = parent!.driver === "ipvlan" && parent!.mode !== "l2" ? {} : { gateway, onlink: true };
      requests.push(rtnetlink.addRoute({ destination, index, ...by }));
    }
  }
  for (const { device, cidr, cidr6, defaultRoute } of interfaces) {
    if (!defaultRoute) continue;
    const index = indexes.get(device) ?? 0;
    const ways = [
      { family: "4", address: cidr, destination: "0.0.0.0/0", gateway: routedGateway },
      { family: "6", address: cidr6, destination: "::/0", gateway: nextHop6(routedGateway) },
    ] as const;
    for (const { family, address, destination, gateway } of ways) {
      if (address === undefined) continue;
      const route = { destination, index, gateway, onlink: true };
      requests.push(rtnetlink.addNeighbour({ index, address: gateway, mac: routedMac }));
      if (waysOut.has(family)) {
        requests.push(
          rtnetlink.addRoute({ ...route, table: returnTable }),
          rtnetlink.addSourceRule({ source: address.split("/")[0]!, priority: returnTable, table: returnTable }),
        );
      } else requests.push(rtnetlink.addRoute(route));
    }
  }
  return requests;
}

/** Before the interfaces come up: IPv6 only on those that have an address of it, and no other than that. */
export function taskSysctls(interfaces: readonly TaskInterface[]): readonly Sysctl[] {
  return interfaces.flatMap(({ device, cidr6, parent }) => {
    const of = (file: string, value: string) => ({ path: `net/ipv6/conf/${device}/${file}`, value });
    // The hosts' network learns at once where an address is now.
    const notify =
      parent === undefined
        ? []
        : [
            { path: `net/ipv4/conf/${device}/arp_notify`, value: "1" },
            { ...of("ndisc_notify", "1"), optional: true },
          ];
    if (cidr6 === undefined) return [...notify, { ...of("disable_ipv6", "1"), optional: true }];
    return [...notify, of("disable_ipv6", "0"), of("accept_ra", "0"), of("accept_dad", "0")];
  });
}

/** Whether the host's end carries IPv6 by the host's own routes. */
export const routesIpv6 = ({ defaultRoute, cidr6 }: TaskInterface): boolean => defaultRoute && cidr6 !== undefined;

/** On the host's ends: IPv6 on routed ones alone, with no address of its own; connections from 127.0.0.1 of the host may leave by these. */
export function hostSysctls(interfaces: readonly TaskInterface[]): readonly Sysctl[] {
  return interfaces.flatMap((task) => [
    ...(routesIpv6(task)
      ? ipv6WithoutAddress(task.hostDevice)
      : [{ path: `net/ipv6/conf/${task.hostDevice}/disable_ipv6`, value: "1", optional: true }]),
    ...(task.defaultRoute ? [{ path: `net/ipv4/conf/${task.hostDevice}/route_localnet`, value: "1" }] : []),
  ]);
}

/** Has a device take entries of IPv6, but no address of its own. */
export const ipv6WithoutAddress = (device: string): readonly Sysctl[] => [
  { path: `net/ipv6/conf/${device}/addr_gen_mode`, value: "1" },
  { path: `net/ipv6/conf/${device}/disable_ipv6`, value: "0" },
];
