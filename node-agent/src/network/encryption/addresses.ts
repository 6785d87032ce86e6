/** Pure: no clock, no I/O, no randomness. */
import { ipText } from "@starling/native/net";

/** Where addresses of tunnels' ends lie: nothing that bears one may leave the host but through a tunnel. */
export const tunnelPrefix = "fd53:7461:726c::/48";
const prefixBytes = [0xfd, 0x53, 0x74, 0x61, 0x72, 0x6c];

/** Address of the tunnel's end that has this key: the prefix and the key's first 80 bits. It needs no one to give it out. */
export function tunnelAddress(publicKey: string): string {
  const key = Uint8Array.from(atob(publicKey), (character) => character.charCodeAt(0));
  return ipText(Uint8Array.from([...prefixBytes, ...key.subarray(0, 10)]));
}

/** UDP port of VXLAN inside of tunnels. No data path port can be the same (those are 1024 and up). */
export const tunnelVxlanPort = 789;

/** Bytes that WireGuard adds: IPv6 40 (or IPv4 20), UDP 8, its header 16, its tag 16. */
const tunnelOverhead = 80;
export const tunnelMtu = (underlayMtu: number): number => underlayMtu - tunnelOverhead;

/** UDP ports at which a node's two devices listen, by slot. */
export const tunnelPorts = [51840, 51841] as const;
export type Slot = 0 | 1;

const devicePrefix = /^sw[01]-/;
/** Name of a node's device: unique on a machine that has several nodes, as the devices' control sockets share a folder. */
export const tunnelDevice = (nodeId: string, slot: Slot): string => `sw${slot}-${nodeId.slice(0, 11)}`;
export const isTunnelDevice = (name: string): boolean => devicePrefix.test(name);
