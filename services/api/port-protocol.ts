/** Pure: no clock, no I/O, no randomness. */
import { PortConfig_Protocol } from "./gen/messages.js";

/** What a port speaks, as users and nftables call it. */
export type PortProtocol = "tcp" | "udp" | "sctp";

const names: Readonly<Record<number, PortProtocol>> = {
  [PortConfig_Protocol.TCP]: "tcp",
  [PortConfig_Protocol.UDP]: "udp",
  [PortConfig_Protocol.SCTP]: "sctp",
};

/** Name of a protocol as it is in specs; undefined: of a later version. */
export const portProtocolOf = (protocol: number): PortProtocol | undefined => names[protocol];
