/** Pure: no clock, no I/O, no randomness. */
import { ipText } from "./address.ts";
import { Flag, type Reply, type Request } from "./netlink.ts";

/** NETLINK_SOCK_DIAG (linux/inet_diag.h): what sockets a namespace has. */
export const protocol = 4;
const byFamily = 20;
const tcp = 6;
const families = [2, 10] as const;

/** TCP states as the kernel numbers them. */
export const TcpState = {
  established: 1,
  synReceived: 3,
  finWait1: 4,
  closeWait: 8,
  lastAck: 9,
  listen: 10,
  closing: 11,
  newSynReceived: 12,
} as const;

/** Lists the TCP sockets in `states`, IPv4 first, then IPv6. */
export function getSockets(states: readonly number[]): readonly Request[] {
  return families.map((family) => {
    const header = new Uint8Array(56);
    header.set([family, tcp]);
    const mask = states.reduce((sum, state) => sum | (1 << state), 0);
    new DataView(header.buffer).setUint32(4, mask, true);
    return { type: byFamily, flags: Flag.Dump, header };
  });
}

export interface TcpSocket {
  readonly state: number;
  readonly local: string;
  readonly localPort: number;
  readonly peer: string;
}

/** The sockets of replies to `getSockets`; messages too short to be one are left out. */
export function decodeSockets(replies: readonly Reply[]): readonly TcpSocket[] {
  return replies.flatMap(({ type, body }) => {
    if (type !== byFamily || body.length < 72) return [];
    const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    const length = body[0] === 2 ? 4 : 16;
    const address = (at: number) => ipText(body.subarray(at, at + length));
    return { state: body[1]!, local: address(8), localPort: view.getUint16(4), peer: address(24) };
  });
}
