/** Pure: no clock, no I/O, no randomness. */
import { decodeAttributes, type Reply, type Request, readU32, u32 } from "./netlink.ts";

/** NETLINK_XFRM (linux/xfrm.h): IPsec. */
export const protocol = 6;
const newSpdInfo = 0x24;
const getSpdInfo = 0x25;

/** Asks how many policies a namespace has. */
export const getPolicyCount = (): Request => ({ type: getSpdInfo, header: u32(0xffffffff) });

/** Those about what comes in, goes out and is forwarded; sockets' own aside. */
export function decodePolicyCount(replies: readonly Reply[]): number {
  const reply = replies.find(({ type }) => type === newSpdInfo);
  const counts = reply && decodeAttributes(reply.body, 4).get(1);
  if (counts === undefined || counts.length < 12) return 0;
  return [0, 4, 8].reduce((sum, at) => sum + (readU32(counts.subarray(at, at + 4)) ?? 0), 0);
}
