/** Pure: no clock, no I/O, no randomness. */
import { ipText, ipv4Bytes } from "@starling/native/net";
import { isTunnelDevice } from "./encryption/addresses.ts";

/**
 * Names of devices, from ids, so that what a former swarmd made is recognised. The kernel allows 15 characters; ids are
 * random, so their first 11 or 12 tell them apart.
 */
export const meshDevice = "starling-mesh";
/** Of the names of both meshes, and of no other device. */
export const meshPrefix = "starling-";
export const routedPrefix = "sr-";
export const bridgePrefix = "sb-";
export const vxlanPrefix = "sx-";
const portPrefix = /^so\d-/;

export const bridgeOf = (networkId: string): string => bridgePrefix + networkId.slice(0, 12);
export const vxlanOf = (networkId: string): string => vxlanPrefix + networkId.slice(0, 12);
/** Host's end of the task's default-route interface. */
export const routedOf = (taskId: string): string => routedPrefix + taskId.slice(0, 12);
/** Host's end of the task's interface on its `position`-th overlay network (0–9). */
export const portOf = (taskId: string, position: number): string => `so${position}-${taskId.slice(0, 11)}`;

export const isBridgePort = (name: string): boolean => portPrefix.test(name);
export const isOurs = (name: string): boolean =>
  meshes.some(({ device }) => device === name) ||
  isTunnelDevice(name) ||
  isBridgePort(name) ||
  [routedPrefix, bridgePrefix, vxlanPrefix].some((prefix) => name.startsWith(prefix));

const twoDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** MAC of whoever has `address` on an overlay or the mesh: 02:42 and the address. */
export function macOf(address: string): string {
  const [a, b, c, d] = ipv4Bytes(address);
  return `02:42:${twoDigits[a!]}:${twoDigits[b!]}:${twoDigits[c!]}:${twoDigits[d!]}`;
}

/** Host's end of every routed interface: the same for all, as each is the only neighbour of its task. */
export const routedMac = "ee:ee:ee:ee:ee:ee";
/** What a task's default route points to; known to it by a permanent neighbour entry only. */
export const routedGateway = "169.254.1.1";
/** Next hop of replies that leave by the mesh; the egress rule puts the ingress node's MAC in. */
export const returnGateway = "169.254.2.1";
export const returnMac = "02:49:ff:ff:ff:ff";
/** Addresses of default-route interfaces that no other node needs to reach; the same pool on every node. */
export const localPool = "100.64.0.0/16";
/** IPv6 addresses of default-route interfaces and of nodes in the mesh: this prefix and the IPv4 address. Nothing is given out. */
export const meshPrefix6 = "fd53:7461:726d::/96";
export const meshAddress6 = (address: string): string => embedded([0xfd, 0x53, 0x74, 0x61, 0x72, 0x6d], address);
/** The part of `meshPrefix6` that is `localPool`'s. */
export const localPool6 = `${meshAddress6("100.64.0.0")}/112`;
/** Next hop in IPv6 that stands for one in IPv4. Of the link, so that no route of the host's can take it elsewhere. */
export const nextHop6 = (address: string): string => embedded([0xfe, 0x80], address);
/**
 * To the host's own ::1 by a device that leads to tasks: replies to what the host sent from there. The kernel takes what is for a
 * loopback address only by a device that the route names (`rt6_need_strict`); from the wire it takes none, ours or not.
 */
export const loopbackRoute = (device: string) => ({ destination: "::1/128", table: 255, device, local: true }) as const;
export const returnTable = 4096;
/** Where VXLAN packets go unless the cluster says otherwise. */
export const defaultVxlanPort = 4789;

/** Marks of a mesh: its nibble and the ingress node's number. */
export const markMask = 0xf0000000;

/** A device that carries the routing mesh, and what leads replies back to the node that a connection came in by. */
export interface Mesh {
  readonly device: string;
  readonly table: number;
  /** Nibble of its marks. */
  readonly markBase: number;
}
export const clearMesh: Mesh = { device: meshDevice, table: returnTable, markBase: 0x50000000 };
/** The one for tasks of encrypted networks. */
export const safeMesh: Mesh = { device: "starling-safe", table: 4097, markBase: 0x60000000 };
export const meshes: readonly Mesh[] = [clearMesh, safeMesh];

/** Mark of the node whose mesh address is `cidr` ("10.255.0.4/16"): the address's host part numbers the node. */
export function markOf(cidr: string, mesh: Mesh): number {
  const [address = "", length = "32"] = cidr.split("/");
  const hostMask = 2 ** (32 - Number(length)) - 1;
  return (mesh.markBase | (ipv4Number(address) & hostMask & 0x0fffffff)) >>> 0;
}

export function ipv4Number(address: string): number {
  return ipv4Bytes(address).reduce((sum, byte) => sum * 256 + byte, 0);
}

/** The prefix's bytes, zeros, and the IPv4 address. */
function embedded(prefix: readonly number[], address: string): string {
  return ipText(Uint8Array.from([...prefix, ...new Uint8Array(12 - prefix.length), ...ipv4Bytes(address)]));
}

export const hex = (mark: number): string => `0x${mark.toString(16)}`;
