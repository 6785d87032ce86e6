/** Pure: no clock, no I/O, no randomness. */
import { ipText } from "@starling/native/net";

/** Where addresses of tunnels' ends lie: nothing that bears one may leave the host but through a tunnel. */
export const tunnelPrefix = "fd53:7461:726c::/48";
const prefixBytes = [0xfd, 0x53, 0x74, 0x61, 0x72, 0x6c];
/** Where addresses of relay devices lie. What goes from one to another is encrypted already, for a tunnel's end. */
export const relayPrefix = "fd53:7461:7279::/48";
const relayPrefixBytes = [0xfd, 0x53, 0x74, 0x61, 0x72, 0x79];

/** Address of the tunnel's end that has this key: the prefix and the key's first 80 bits. It needs no one to give it out. */
export const tunnelAddress = (publicKey: string): string => addressIn(prefixBytes, publicKey);
/** Address of the relay device that has this key, made alike. */
export const relayAddress = (publicKey: string): string => addressIn(relayPrefixBytes, publicKey);

function addressIn(prefix: readonly number[], publicKey: string): string {
  const key = Uint8Array.from(atob(publicKey), (character) => character.charCodeAt(0));
  return ipText(Uint8Array.from([...prefix, ...key.subarray(0, 10)]));
}

/** `ADDRESS:PORT` as `wg` takes and prints it. */
export const endpointText = (address: string, port: number): string =>
  address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;

/** Whether packets for that endpoint go by a relay. */
export const isRelayed = (endpoint: string | undefined): boolean => endpoint?.startsWith("[fd53:7461:7279:") === true;

/** UDP port of VXLAN inside of tunnels. No data path port can be the same (those are 1024 and up). */
export const tunnelVxlanPort = 789;

/** Bytes that WireGuard adds: IPv6 40 (or IPv4 20), UDP 8, its header 16, its tag 16. */
const tunnelOverhead = 80;
export const tunnelMtu = (underlayMtu: number): number => underlayMtu - tunnelOverhead;

/** UDP ports at which a node's two devices listen, by slot. */
export const tunnelPorts = [51840, 51841] as const;
export type Slot = 0 | 1;
/** UDP port at which a node's relay device listens. */
export const relayPort = 51842;

const devicePrefix = /^sw[01r]-/;
/** Name of a node's device: unique on a machine that has several nodes, as the devices' control sockets share a folder. */
export const tunnelDevice = (nodeId: string, slot: Slot): string => `sw${slot}-${nodeId.slice(0, 11)}`;
export const relayDevice = (nodeId: string): string => `swr-${nodeId.slice(0, 11)}`;
export const relayDevices = "swr-*";
export const isTunnelDevice = (name: string): boolean => devicePrefix.test(name);
