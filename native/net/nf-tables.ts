/** Pure: no clock, no I/O, no randomness. */
import { decodeAttributes, type Reply, type Request, viewOf } from "./netlink.ts";

/** NETLINK_NETFILTER (linux/netfilter/nf_tables.h): what of nftables is asked without its library. */
export const protocol = 12;
const subsystem = 10 << 8;
const newGeneration = subsystem | 15;
const getGenerationType = subsystem | 16;

/** Asks how many transactions a namespace's nftables have seen. */
export function getGeneration(): Request {
  return { type: getGenerationType, header: new Uint8Array(4) };
}

/** The number: each transaction that changed something adds one. Undefined when there is no answer. */
export function decodeGeneration(replies: readonly Reply[]): number | undefined {
  const reply = replies.find(({ type }) => type === newGeneration);
  const id = reply && decodeAttributes(reply.body, 4).get(1);
  return id === undefined ? undefined : viewOf(id).getUint32(0);
}
