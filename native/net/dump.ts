/** Pure: no clock, no I/O, no randomness. */
import { ipText, macText } from "./address.ts";
import { decodeAttributes, type Reply, readText, readU32, viewOf } from "./netlink.ts";
import { Family, Rtm } from "./rtnetlink.ts";

export interface Link {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge`, `vxlan`, …; empty for real devices. */
  readonly kind: string;
  /** Its packets have headers of Ethernet, and come from elsewhere (ARPHRD_ETHER). */
  readonly isEthernet: boolean;
  readonly up: boolean;
  readonly mtu: number;
  readonly mac: string;
  /** Index of the bridge; 0 for none. */
  readonly master: number;
  /** Of a pair: index of the other end, in that one's namespace; of a device on another: that one's. 0 for none. */
  readonly link: number;
  readonly alias: string;
  /** Of its IPv6 settings (sysctl net.ipv6.conf): absent without IPv6. */
  readonly ipv6?: { readonly forwarding: number; readonly acceptRa: number };
  readonly vxlan?: { readonly vni: number; readonly local: string; readonly port: number; readonly learning: boolean };
}

export interface Address {
  readonly index: number;
  /** `"10.0.0.1/24"`. */
  readonly address: string;
  /** Not of the host or a link alone. */
  readonly isGlobal: boolean;
}

export interface Route {
  readonly destination: string;
  readonly index: number;
  readonly gateway: string;
  readonly table: number;
  readonly protocol: number;
  readonly kind: number;
}

export interface Neighbour {
  readonly index: number;
  readonly address: string;
  readonly mac: string;
  readonly permanent: boolean;
}

export interface Forwarding {
  readonly index: number;
  readonly mac: string;
  /** The host that the frame goes to; empty for an entry of a bridge. */
  readonly destination: string;
  readonly on: "self" | "master";
  readonly permanent: boolean;
}

export interface Rule {
  readonly family: 4 | 6;
  readonly priority: number;
  readonly mark: number;
  readonly mask: number;
  readonly table: number;
}

const isInternet = ({ body }: Reply): boolean => body[0] === Family.inet || body[0] === Family.inet6;

const maybe = <T>(bytes: Uint8Array | undefined, read: (bytes: Uint8Array) => T, otherwise: T): T =>
  bytes === undefined ? otherwise : read(bytes);

export function decodeLinks(replies: readonly Reply[]): readonly Link[] {
  return replies.filter((reply) => reply.type === Rtm.newLink && reply.body[0] === Family.unspecified).map(decodeLink);
}

function decodeLink({ body }: Reply): Link {
  const view = viewOf(body);
  const attributes = decodeAttributes(body, 16);
  const info = maybe(attributes.get(18), (bytes) => decodeAttributes(bytes), new Map<number, Uint8Array>());
  const kind = readText(info.get(1)) ?? "";
  const data = maybe(info.get(2), (bytes) => decodeAttributes(bytes), new Map<number, Uint8Array>());
  const link = {
    index: view.getInt32(4, true),
    name: readText(attributes.get(3)) ?? "",
    kind,
    isEthernet: view.getUint16(2, true) === 1,
    up: (view.getUint32(8, true) & 1) === 1,
    mtu: readU32(attributes.get(4)) ?? 0,
    mac: maybe(attributes.get(1), macText, ""),
    master: readU32(attributes.get(10)) ?? 0,
    link: readU32(attributes.get(5)) ?? 0,
    alias: readText(attributes.get(20)) ?? "",
  };
  const ipv6 = ipv6Settings(attributes.get(26));
  const settings = ipv6 === undefined ? {} : { ipv6 };
  if (kind !== "vxlan") return { ...link, ...settings };
  return {
    ...link,
    ...settings,
    vxlan: {
      vni: readU32(data.get(1)) ?? 0,
      local: maybe(data.get(4) ?? data.get(17), ipText, ""),
      port: maybe(data.get(15), (bytes) => viewOf(bytes).getUint16(0), 0),
      learning: data.get(7)?.[0] === 1,
    },
  };
}

/** From IFLA_AF_SPEC: IFLA_INET6_CONF of AF_INET6, an array of 32-bit numbers (DEVCONF_FORWARDING 0, DEVCONF_ACCEPT_RA 3). */
function ipv6Settings(families: Uint8Array | undefined): Link["ipv6"] {
  const family = families && decodeAttributes(families).get(Family.inet6);
  const settings = family && decodeAttributes(family).get(2);
  if (settings === undefined || settings.length < 16) return undefined;
  const view = viewOf(settings);
  return { forwarding: view.getInt32(0, true), acceptRa: view.getInt32(12, true) };
}

export function decodeAddresses(replies: readonly Reply[]): readonly Address[] {
  return replies
    .filter((reply) => reply.type === Rtm.newAddress && isInternet(reply))
    .map(({ body }) => {
      const attributes = decodeAttributes(body, 8);
      const address = maybe(attributes.get(2) ?? attributes.get(1), ipText, "");
      return { index: viewOf(body).getUint32(4, true), address: `${address}/${body[1]}`, isGlobal: body[3] === 0 };
    });
}

export function decodeRoutes(replies: readonly Reply[]): readonly Route[] {
  return replies
    .filter((reply) => reply.type === Rtm.newRoute && isInternet(reply))
    .map(({ body }) => {
      const attributes = decodeAttributes(body, 12);
      return {
        destination: `${maybe(attributes.get(1), ipText, body[0] === Family.inet ? "0.0.0.0" : "::")}/${body[1]}`,
        index: readU32(attributes.get(4)) ?? 0,
        gateway: maybe(attributes.get(5), ipText, ""),
        table: readU32(attributes.get(15)) ?? body[4]!,
        protocol: body[5]!,
        kind: body[7]!,
      };
    });
}

/** NUD_PERMANENT or NUD_NOARP: made by somebody, not learnt. */
const permanentState = 0xc0;

export function decodeNeighbours(replies: readonly Reply[]): readonly Neighbour[] {
  return replies
    .filter((reply) => reply.type === Rtm.newNeighbour && isInternet(reply))
    .map(({ body }) => {
      const attributes = decodeAttributes(body, 12);
      return {
        index: viewOf(body).getInt32(4, true),
        address: maybe(attributes.get(1), ipText, ""),
        mac: maybe(attributes.get(2), macText, ""),
        permanent: (viewOf(body).getUint16(8, true) & permanentState) !== 0,
      };
    });
}

export function decodeForwarding(replies: readonly Reply[]): readonly Forwarding[] {
  return replies
    .filter((reply) => reply.type === Rtm.newNeighbour && reply.body[0] === Family.bridge)
    .map(({ body }) => {
      const attributes = decodeAttributes(body, 12);
      return {
        index: viewOf(body).getInt32(4, true),
        mac: maybe(attributes.get(2), macText, ""),
        destination: maybe(attributes.get(1), ipText, ""),
        on: (body[10]! & 2) !== 0 ? ("self" as const) : ("master" as const),
        permanent: (viewOf(body).getUint16(8, true) & permanentState) !== 0,
      };
    });
}

export function decodeRules(replies: readonly Reply[]): readonly Rule[] {
  return replies
    .filter((reply) => reply.type === Rtm.newRule && isInternet(reply))
    .map(({ body }) => {
      const attributes = decodeAttributes(body, 12);
      return {
        family: body[0] === Family.inet ? (4 as const) : (6 as const),
        priority: readU32(attributes.get(6)) ?? 0,
        mark: readU32(attributes.get(10)) ?? 0,
        mask: readU32(attributes.get(16)) ?? 0,
        table: readU32(attributes.get(15)) ?? body[4]!,
      };
    });
}
