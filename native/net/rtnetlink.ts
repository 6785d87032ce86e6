/** Pure: no clock, no I/O, no randomness. */
import { ipBytes, macBytes, parsePrefix } from "./address.ts";
import { type Attribute, be16, Flag, type Request, text, u8, u16, u32 } from "./netlink.ts";

/** NETLINK_ROUTE (linux/rtnetlink.h): requests that make, change and list links, addresses, routes, neighbours and rules. */
export const routeProtocol = 0;

export const Rtm = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  newAddress: 20,
  delAddress: 21,
  getAddress: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  delNeighbour: 29,
  getNeighbour: 30,
  newRule: 32,
  delRule: 33,
  getRule: 34,
} as const;

export const Family = { unspecified: 0, inet: 2, bridge: 7, inet6: 10 } as const;
const familyOf = (address: Uint8Array): number => (address.length === 4 ? Family.inet : Family.inet6);
const iffUp = 1;
const replace = Flag.Create | Flag.Replace;

function linkHeader(options: { index?: number; up?: boolean | undefined; family?: number } = {}): Uint8Array {
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint8(0, options.family ?? 0);
  view.setInt32(4, options.index ?? 0, true);
  if (options.up !== undefined) {
    view.setUint32(8, options.up ? iffUp : 0, true);
    view.setUint32(12, iffUp, true);
  }
  return header;
}

/** What every kind of link can be given. */
export interface LinkOptions {
  readonly name: string;
  readonly index?: number;
  readonly mac?: string;
  /** Bytes. */
  readonly mtu?: number;
  readonly up?: boolean;
  /** Index of the bridge that it becomes a port of. */
  readonly master?: number;
  readonly alias?: string;
  /** Descriptor of the network namespace to be made or moved into. */
  readonly netnsFd?: number;
}

function linkAttributes(link: Partial<LinkOptions>): Attribute[] {
  const attributes: Attribute[] = [];
  if (link.name !== undefined) attributes.push({ type: 3, value: text(link.name) });
  if (link.mac !== undefined) attributes.push({ type: 1, value: macBytes(link.mac) });
  if (link.mtu !== undefined) attributes.push({ type: 4, value: u32(link.mtu) });
  if (link.master !== undefined) attributes.push({ type: 10, value: u32(link.master) });
  if (link.alias !== undefined) attributes.push({ type: 20, value: text(link.alias) });
  if (link.netnsFd !== undefined) attributes.push({ type: 28, value: u32(link.netnsFd) });
  return attributes;
}

function createLink(link: LinkOptions, kind: string, data: readonly Attribute[]): Request {
  const info: Attribute[] = [{ type: 1, value: text(kind) }];
  if (data.length > 0) info.push({ type: 2, value: data });
  return {
    type: Rtm.newLink,
    flags: Flag.Create | Flag.Exclusive,
    header: linkHeader({ index: link.index ?? 0, up: link.up }),
    attributes: [...linkAttributes(link), { type: 18, value: info }],
  };
}

/** A pair of devices; `peer` may be made in another namespace, with its name, MAC and index, in the same request. */
export function createVeth(link: LinkOptions, peer: LinkOptions): Request {
  const prefix = linkHeader({ index: peer.index ?? 0, up: peer.up });
  return createLink(link, "veth", [{ type: 1, prefix, value: linkAttributes(peer) }]);
}

/** Spanning tree off, no forwarding delay, multicast flooded as broadcast is. */
export function createBridge(link: LinkOptions): Request {
  return createLink(link, "bridge", [
    { type: 1, value: u32(0) },
    { type: 5, value: u32(0) },
    { type: 23, value: u8(0) },
  ]);
}

const macvlanModes: Readonly<Record<string, number>> = { private: 1, vepa: 2, bridge: 4, passthru: 8 };
const ipvlanModes: Readonly<Record<string, number>> = { l2: 0, l3: 1, l3s: 2 };

/** A device with an address of its own on the network of `parent` (an index); a kernel without answers EOPNOTSUPP. */
export function createMacvlan(link: LinkOptions, options: { readonly parent: number; readonly mode: string }): Request {
  return onParent(createLink(link, "macvlan", [{ type: 1, value: u32(macvlanModes[options.mode] ?? 0) }]), options);
}

/** As a macvlan device, under the parent's own MAC. */
export function createIpvlan(link: LinkOptions, options: { readonly parent: number; readonly mode: string }): Request {
  return onParent(createLink(link, "ipvlan", [{ type: 1, value: u16(ipvlanModes[options.mode] ?? 0) }]), options);
}

/** What `parent` (an index) brings with the VLAN's tag, without it. */
export function createVlan(link: LinkOptions, options: { readonly parent: number; readonly vlan: number }): Request {
  return onParent(createLink(link, "vlan", [{ type: 1, value: u16(options.vlan) }]), options);
}

function onParent(request: Request, { parent }: { readonly parent: number }): Request {
  return { ...request, attributes: [...(request.attributes ?? []), { type: 5, value: u32(parent) }] };
}

export function createDummy(link: LinkOptions): Request {
  return createLink(link, "dummy", []);
}

/** The kernel's WireGuard device; a kernel without answers EOPNOTSUPP. */
export function createWireGuard(link: LinkOptions): Request {
  return createLink(link, "wireguard", []);
}

/**
 * A VXLAN device that learns nothing; `proxy` answers ARP from its neighbour table and never floods it. With an empty
 * `local` the kernel chooses the sender's address. An IPv6 `local` makes the outer packets IPv6.
 */
export function createVxlan(
  link: LinkOptions,
  vxlan: {
    readonly vni: number;
    readonly local: string;
    readonly port: number;
    readonly proxy: boolean;
    /** Of outer IPv6 packets: their UDP checksum is neither made nor asked for. */
    readonly withoutChecksum?: boolean;
  },
): Request {
  const local = vxlan.local === "" ? undefined : ipBytes(vxlan.local);
  return createLink(link, "vxlan", [
    { type: 1, value: u32(vxlan.vni) },
    ...(local === undefined ? [] : [{ type: local.length === 4 ? 4 : 17, value: local }]),
    { type: 7, value: u8(0) },
    { type: 11, value: u8(vxlan.proxy ? 1 : 0) },
    { type: 15, value: be16(vxlan.port) },
    ...(vxlan.withoutChecksum ? [19, 20].map((type) => ({ type, value: u8(1) })) : []),
  ]);
}

/** Changes the link of that name (or index). */
export function setLink(link: Partial<LinkOptions>): Request {
  return {
    type: Rtm.newLink,
    header: linkHeader({ index: link.index ?? 0, up: link.up }),
    attributes: linkAttributes(link),
  };
}

/** A bridge port that learns no addresses; `unicastFlood` sends it frames of unknown destination. */
export function setBridgePort(
  name: string,
  port: { readonly learning: boolean; readonly unicastFlood: boolean },
): Request {
  const data: Attribute[] = [
    { type: 8, value: u8(port.learning ? 1 : 0) },
    { type: 9, value: u8(port.unicastFlood ? 1 : 0) },
  ];
  return {
    type: Rtm.newLink,
    header: linkHeader(),
    attributes: [
      { type: 3, value: text(name) },
      {
        type: 18,
        value: [
          { type: 4, value: text("bridge") },
          { type: 5, value: data },
        ],
      },
    ],
  };
}

export function deleteLink(name: string): Request {
  return { type: Rtm.delLink, header: linkHeader(), attributes: [{ type: 3, value: text(name) }] };
}

/** One link by name, or all. */
export function getLinks(name?: string): Request {
  return name === undefined
    ? { type: Rtm.getLink, flags: Flag.Dump, header: linkHeader() }
    : { type: Rtm.getLink, header: linkHeader(), attributes: [{ type: 3, value: text(name) }] };
}

/** IPv6 addresses are used at once: those that we give have no double. */
const withoutDuplicateDetection = 2;

function address(type: number, flags: number, index: number, prefix: string): Request {
  const { bytes, length } = parsePrefix(prefix);
  const header = new Uint8Array(8);
  const view = new DataView(header.buffer);
  view.setUint8(0, familyOf(bytes));
  view.setUint8(1, length);
  view.setUint8(2, bytes.length === 16 ? withoutDuplicateDetection : 0);
  view.setUint32(4, index, true);
  const attributes: Attribute[] = [
    { type: 2, value: bytes },
    { type: 1, value: bytes },
  ];
  return { type, flags, header, attributes };
}

/** `prefix` as `"10.0.0.1/24"`; an address that is there already is replaced. */
export const addAddress = (index: number, prefix: string): Request => address(Rtm.newAddress, replace, index, prefix);
export const deleteAddress = (index: number, prefix: string): Request => address(Rtm.delAddress, 0, index, prefix);

export function getAddresses(): Request {
  return { type: Rtm.getAddress, flags: Flag.Dump, header: new Uint8Array(8) };
}

/** Routes made here carry this protocol number, so that they are known as ours (`ip route show proto 83`). */
export const ourRouteProtocol = 83;
const mainTable = 254;

export interface RouteOptions {
  /** Prefix; `"0.0.0.0/0"` and `"::/0"` are the default routes. */
  readonly destination: string;
  readonly index?: number;
  readonly gateway?: string;
  /** The gateway is taken to be on the link whatever addresses the link has. */
  readonly onlink?: boolean;
  readonly source?: string;
  readonly table?: number;
  /** `throw` ends the look-up in this table; `local`: an address of this host, on that device. */
  readonly kind?: RouteKind;
}
export type RouteKind = "unicast" | "throw" | "local";
export const routeTypes: Readonly<Record<RouteKind, number>> = { unicast: 1, local: 2, throw: 9 };

function route(type: number, flags: number, options: RouteOptions): Request {
  const destination = parsePrefix(options.destination);
  const table = options.table ?? mainTable;
  const linkScope = options.gateway === undefined && options.kind !== "throw";
  const header = new Uint8Array(12);
  header.set([
    familyOf(destination.bytes),
    destination.length,
    0,
    0,
    table < 256 ? table : 0,
    ourRouteProtocol,
    linkScope ? 253 : 0,
    routeTypes[options.kind ?? "unicast"],
  ]);
  if (options.onlink) header[8] = 4;
  const attributes: Attribute[] = [{ type: 15, value: u32(table) }];
  if (destination.length > 0) attributes.push({ type: 1, value: destination.bytes });
  if (options.index !== undefined) attributes.push({ type: 4, value: u32(options.index) });
  if (options.gateway !== undefined) attributes.push({ type: 5, value: ipBytes(options.gateway) });
  if (options.source !== undefined) attributes.push({ type: 7, value: ipBytes(options.source) });
  return { type, flags, header, attributes };
}

/** Replaces the one to the same destination in that table; a local one stands beside those on other devices. */
export const addRoute = (options: RouteOptions): Request =>
  route(Rtm.newRoute, options.kind === "local" ? Flag.Create : replace, options);
export const deleteRoute = (options: RouteOptions): Request => route(Rtm.delRoute, 0, options);

/** All routes of both families; filter by `protocol` in the decoded ones. */
export function getRoutes(): Request {
  return { type: Rtm.getRoute, flags: Flag.Dump, header: new Uint8Array(12) };
}

function neighbourHeader(options: { family: number; index: number; state?: number; flags?: number }): Uint8Array {
  const header = new Uint8Array(12);
  const view = new DataView(header.buffer);
  view.setUint8(0, options.family);
  view.setInt32(4, options.index, true);
  view.setUint16(8, options.state ?? 0, true);
  view.setUint8(10, options.flags ?? 0);
  return header;
}

const permanent = 0x80;
/** Never ages. Of a bridge, `permanent` would mean its own address. */
const noArp = 0x40;
const ntfSelf = 2;
const ntfMaster = 4;

export interface NeighbourOptions {
  readonly index: number;
  readonly address: string;
  readonly mac: string;
}

/** A permanent neighbour entry, replaced when it is there. */
export function addNeighbour(options: NeighbourOptions): Request {
  const bytes = ipBytes(options.address);
  return {
    type: Rtm.newNeighbour,
    flags: replace,
    header: neighbourHeader({ family: familyOf(bytes), index: options.index, state: permanent }),
    attributes: [
      { type: 1, value: bytes },
      { type: 2, value: macBytes(options.mac) },
    ],
  };
}

export function deleteNeighbour(options: { readonly index: number; readonly address: string }): Request {
  const bytes = ipBytes(options.address);
  return {
    type: Rtm.delNeighbour,
    header: neighbourHeader({ family: familyOf(bytes), index: options.index }),
    attributes: [{ type: 1, value: bytes }],
  };
}

export function getNeighbours(): Request {
  return {
    type: Rtm.getNeighbour,
    flags: Flag.Dump,
    header: neighbourHeader({ family: Family.unspecified, index: 0 }),
  };
}

/**
 * A permanent forwarding entry. With `destination`: of a VXLAN device, frames for `mac` go to that host. Without: of the
 * bridge, frames for `mac` leave by this port.
 */
export function addForwarding(options: {
  readonly index: number;
  readonly mac: string;
  readonly destination?: string;
}): Request {
  const attributes: Attribute[] = [{ type: 2, value: macBytes(options.mac) }];
  if (options.destination !== undefined) attributes.push({ type: 1, value: ipBytes(options.destination) });
  const ofBridge = options.destination === undefined;
  const kind = ofBridge ? { state: noArp, flags: ntfMaster } : { state: permanent, flags: ntfSelf };
  return {
    type: Rtm.newNeighbour,
    flags: replace,
    header: neighbourHeader({ family: Family.bridge, index: options.index, ...kind }),
    attributes,
  };
}

export function deleteForwarding(options: {
  readonly index: number;
  readonly mac: string;
  readonly on: "self" | "master";
}): Request {
  const flags = options.on === "self" ? ntfSelf : ntfMaster;
  return {
    type: Rtm.delNeighbour,
    header: neighbourHeader({ family: Family.bridge, index: options.index, flags }),
    attributes: [{ type: 2, value: macBytes(options.mac) }],
  };
}

export function getForwarding(): Request {
  return { type: Rtm.getNeighbour, flags: Flag.Dump, header: neighbourHeader({ family: Family.bridge, index: 0 }) };
}

export interface RuleOptions {
  /** Of the packets that it is for. */
  readonly family: 4 | 6;
  readonly priority: number;
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
}

/** Packets from the address look up `table`. Answers EEXIST when the same rule is there. */
export function addSourceRule(options: {
  readonly source: string;
  readonly priority: number;
  readonly table: number;
}): Request {
  const source = ipBytes(options.source);
  const header = new Uint8Array(12);
  header[0] = familyOf(source);
  header[2] = source.length * 8;
  header[7] = 1;
  const attributes: Attribute[] = [
    { type: 2, value: source },
    { type: 6, value: u32(options.priority) },
    { type: 15, value: u32(options.table) },
    { type: 21, value: u8(ourRouteProtocol) },
  ];
  return { type: Rtm.newRule, flags: Flag.Create | Flag.Exclusive, header, attributes };
}

function rule(type: number, flags: number, options: RuleOptions): Request {
  const header = new Uint8Array(12);
  header[0] = options.family === 4 ? Family.inet : Family.inet6;
  header[7] = 1;
  return {
    type,
    flags,
    header,
    attributes: [
      { type: 6, value: u32(options.priority) },
      { type: 10, value: u32(options.mark) },
      { type: 16, value: u32(options.mask) },
      { type: 15, value: u32(options.table) },
      { type: 21, value: u8(ourRouteProtocol) },
    ],
  };
}

/** Packets whose mark matches look up `table`. Answers EEXIST when the same rule is there. */
export const addRule = (options: RuleOptions): Request => rule(Rtm.newRule, Flag.Create | Flag.Exclusive, options);
export const deleteRule = (options: RuleOptions): Request => rule(Rtm.delRule, 0, options);

export function getRules(): Request {
  return { type: Rtm.getRule, flags: Flag.Dump, header: new Uint8Array(12) };
}
