/** Pure: no clock, no I/O, no randomness. */
import { type Request, rtnetlink, type Sysctl } from "@starling/native/net";
import type { Attachment } from "./attachment.ts";
import { macOf, portOf, routedGateway, routedMac, routedOf } from "./names.ts";

/** One pair of devices: the host's end and the task's. */
export interface TaskInterface {
  readonly hostDevice: string;
  /** eth0: the default route; eth1 and on: overlay networks. */
  readonly device: string;
  readonly cidr: string;
  readonly cidr6?: string | undefined;
  readonly mtu: number;
  readonly defaultRoute: boolean;
}

/** The interfaces of a task. `routed` is the address of its way out. */
export function interfacesOf(
  taskId: string,
  attachment: Attachment,
  options: {
    readonly routed: string | undefined;
    readonly routedMtu: number;
    readonly overlayMtu: (networkId: string) => number;
  },
): readonly TaskInterface[] {
  const interfaces: TaskInterface[] = [];
  if (options.routed !== undefined) {
    interfaces.push({
      hostDevice: routedOf(taskId),
      device: "eth0",
      cidr: `${options.routed}/32`,
      mtu: options.routedMtu,
      defaultRoute: true,
    });
  }
  attachment.overlays.forEach((overlay, position) => {
    interfaces.push({
      hostDevice: portOf(taskId, position),
      device: `eth${position + 1}`,
      cidr: overlay.cidr,
      cidr6: overlay.cidr6,
      mtu: options.overlayMtu(overlay.networkId),
      defaultRoute: false,
    });
  });
  return interfaces;
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
  for (const { device, cidr, cidr6, defaultRoute } of interfaces) {
    const index = indexes.get(device) ?? 0;
    requests.push(rtnetlink.addAddress(index, cidr), rtnetlink.setLink({ index, up: true }));
    if (cidr6 !== undefined) requests.push(rtnetlink.addAddress(index, cidr6));
    if (!defaultRoute) continue;
    requests.push(
      rtnetlink.addNeighbour({ index, address: routedGateway, mac: routedMac }),
      rtnetlink.addRoute({ destination: "0.0.0.0/0", index, gateway: routedGateway, onlink: true }),
    );
  }
  return requests;
}

/** Before the interfaces come up: IPv6 only on those that have an address of it, and no other than that. */
export function taskSysctls(interfaces: readonly TaskInterface[]): readonly Sysctl[] {
  return interfaces.flatMap(({ device, cidr6 }) => {
    const of = (file: string, value: string) => ({ path: `net/ipv6/conf/${device}/${file}`, value });
    if (cidr6 === undefined) return [{ ...of("disable_ipv6", "1"), optional: true }];
    return [of("disable_ipv6", "0"), of("accept_ra", "0"), of("accept_dad", "0")];
  });
}

/** On the host's ends: connections from 127.0.0.1 of the host may leave by routed ones. */
export function hostSysctls(interfaces: readonly TaskInterface[]): readonly Sysctl[] {
  return interfaces.flatMap((task) => [
    { path: `net/ipv6/conf/${task.hostDevice}/disable_ipv6`, value: "1", optional: true },
    ...(task.defaultRoute ? [{ path: `net/ipv4/conf/${task.hostDevice}/route_localnet`, value: "1" }] : []),
  ]);
}
