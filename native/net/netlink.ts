/** Pure: no clock, no I/O, no randomness. */

/** Flags of a request (linux/netlink.h). */
export const Flag = {
  Request: 0x1,
  Ack: 0x4,
  Replace: 0x100,
  Exclusive: 0x200,
  Create: 0x400,
  Append: 0x800,
  Dump: 0x300,
} as const;

const headerLength = 16;
const nested = 0x8000;
const typeMask = 0x3fff;

const align = (length: number): number => (length + 3) & ~3;

/** One attribute: a value of bytes, or attributes within. */
export interface Attribute {
  readonly type: number;
  readonly value: Uint8Array | readonly Attribute[];
  /** Fixed bytes that stand before the nested attributes (VETH_INFO_PEER carries an ifinfomsg). */
  readonly prefix?: Uint8Array;
}

/** One request message: a family's fixed header and attributes. `Flag.Request` is always set, and an answer asked for. */
export interface Request {
  readonly type: number;
  readonly flags?: number;
  readonly header: Uint8Array;
  readonly attributes?: readonly Attribute[];
}

export const u8 = (value: number): Uint8Array => Uint8Array.of(value);

export function u16(value: number): Uint8Array {
  const bytes = new Uint8Array(2);
  new DataView(bytes.buffer).setUint16(0, value, true);
  return bytes;
}

/** Big endian: ports, and numbers of netfilter attributes. */
export function be16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** Zero-terminated, as netlink's names are. */
export const text = (value: string): Uint8Array => new TextEncoder().encode(`${value}\0`);

/** Encodes requests back to back, as the addon's netlink step takes them. Little endian: amd64 and arm64. */
export function encodeRequests(requests: readonly Request[]): Uint8Array {
  const bytes = new Uint8Array(requests.reduce((sum, request) => sum + align(requestLength(request)), 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const request of requests) {
    const length = requestLength(request);
    view.setUint32(at, length, true);
    view.setUint16(at + 4, request.type, true);
    view.setUint16(at + 6, (request.flags ?? 0) | Flag.Request | Flag.Ack, true);
    bytes.set(request.header, at + headerLength);
    let cursor = at + headerLength + align(request.header.length);
    for (const attribute of request.attributes ?? []) cursor = write(attribute, bytes, view, cursor);
    at += align(length);
  }
  return bytes;
}

function requestLength(request: Request): number {
  return (
    headerLength + align(request.header.length) + (request.attributes ?? []).reduce((n, a) => n + align(sizeOf(a)), 0)
  );
}

function sizeOf(attribute: Attribute): number {
  const inner =
    attribute.value instanceof Uint8Array
      ? attribute.value.length
      : attribute.value.reduce((sum, child) => sum + align(sizeOf(child)), 0);
  return 4 + align(attribute.prefix?.length ?? 0) + inner;
}

function write(attribute: Attribute, bytes: Uint8Array, view: DataView, start: number): number {
  const size = sizeOf(attribute);
  const isNested = !(attribute.value instanceof Uint8Array);
  view.setUint16(start, size, true);
  view.setUint16(start + 2, attribute.type | (isNested ? nested : 0), true);
  let at = start + 4;
  if (attribute.prefix !== undefined) {
    bytes.set(attribute.prefix, at);
    at += align(attribute.prefix.length);
  }
  if (attribute.value instanceof Uint8Array) bytes.set(attribute.value, at);
  else for (const child of attribute.value) at = write(child, bytes, view, at);
  return start + align(size);
}

/** One message received. */
export interface Reply {
  readonly type: number;
  readonly body: Uint8Array;
}

/** Splits the replies of a netlink step. */
export function decodeReplies(bytes: Uint8Array): readonly Reply[] {
  const view = viewOf(bytes);
  const replies: Reply[] = [];
  for (let at = 0; at + headerLength <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < headerLength || at + length > bytes.length) break;
    replies.push({ type: view.getUint16(at + 4, true), body: bytes.subarray(at + headerLength, at + length) });
    at += align(length);
  }
  return replies;
}

/** Attributes of `bytes` from `start` on, by type; of one given twice the last counts. */
export function decodeAttributes(bytes: Uint8Array, start = 0): ReadonlyMap<number, Uint8Array> {
  const view = viewOf(bytes);
  const attributes = new Map<number, Uint8Array>();
  for (let at = align(start); at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    attributes.set(view.getUint16(at + 2, true) & typeMask, bytes.subarray(at + 4, at + length));
    at += align(length);
  }
  return attributes;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function readU32(bytes: Uint8Array | undefined): number | undefined {
  return bytes === undefined || bytes.length < 4 ? undefined : viewOf(bytes).getUint32(0, true);
}

export function readText(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}
