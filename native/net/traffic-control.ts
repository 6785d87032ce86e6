/** Pure: no clock, no I/O, no randomness. */
import { decodeAttributes, Flag, type Reply, type Request, readText, readU32, text, u32, viewOf } from "./netlink.ts";

/*
 * Traffic control of NETLINK_ROUTE (linux/pkt_sched.h, linux/pkt_cls.h): eBPF programs that see what comes in by a device before
 * anything else does with it.
 */

const Rtm = { newQdisc: 36, newFilter: 44, deleteFilter: 45, getFilter: 46 } as const;

/** The queueing discipline `clsact`, which only classifies, and its hook for what comes in. */
const clsactHandle = 0xffff0000;
const clsactParent = 0xfffffff1;
const ingress = 0xfffffff2;
/** Of ours among a device's filters: theirs with a lower one come before, and decide. */
const priority = 0x5741;
const allProtocols = 0x0300;
/** The program's return value is the decision. */
const directAction = 1;

function header(index: number, fields: { readonly handle: number; readonly parent: number; readonly info?: number }) {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setInt32(4, index, true);
  view.setUint32(8, fields.handle, true);
  view.setUint32(12, fields.parent, true);
  view.setUint32(16, fields.info ?? 0, true);
  return bytes;
}

/** Lets the device (an index) have filters. Answers EEXIST where it may already. */
export function addClsact(index: number): Request {
  return {
    type: Rtm.newQdisc,
    flags: Flag.Create | Flag.Exclusive,
    header: header(index, { handle: clsactHandle, parent: clsactParent }),
    attributes: [{ type: 1, value: text("clsact") }],
  };
}

const ours = { handle: 1, parent: ingress, info: ((priority << 16) | allProtocols) >>> 0 };

/** Has a loaded program of type `tc` see what comes in by the device, in place of the one that was there by this before. */
export function addFilter(index: number, program: { readonly fd: number; readonly name: string }): Request {
  return {
    type: Rtm.newFilter,
    flags: Flag.Create,
    header: header(index, ours),
    attributes: [
      { type: 1, value: text("bpf") },
      {
        type: 2,
        value: [
          { type: 6, value: u32(program.fd) },
          { type: 7, value: text(program.name) },
          { type: 8, value: u32(directAction) },
        ],
      },
    ],
  };
}

/** Answers ENOENT or EINVAL where there is none. */
export function deleteFilter(index: number): Request {
  return {
    type: Rtm.deleteFilter,
    header: header(index, ours),
    attributes: [{ type: 1, value: text("bpf") }],
  };
}

/** Filters of the device at the hook for what comes in; answers EINVAL where there can be none. */
export function getFilters(index: number): Request {
  return { type: Rtm.getFilter, flags: Flag.Dump, header: header(index, { handle: 0, parent: ingress }) };
}

/** Whether the device has filters of others for what comes in. */
export const hasOthersFilters = (replies: readonly Reply[]): boolean =>
  replies.some(({ type, body }) => type === Rtm.newFilter && viewOf(body).getUint32(16, true) >>> 16 !== priority);

/** Ids of our programs (`addFilter`) by the device's index. */
export function decodeFilters(replies: readonly Reply[]): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  for (const { type, body } of replies) {
    if (type !== Rtm.newFilter || body.length < 20) continue;
    const view = viewOf(body);
    const attributes = decodeAttributes(body, 20);
    const options = attributes.get(2);
    if (view.getUint32(16, true) >>> 16 !== priority || readText(attributes.get(1)) !== "bpf" || !options) continue;
    const id = readU32(decodeAttributes(options).get(11));
    if (id !== undefined) found.set(view.getInt32(4, true), id);
  }
  return found;
}
