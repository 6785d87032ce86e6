/**
 * The one place where wire bytes become JavaScript values: 64-bit integers are exact or refused, unknown fields are kept,
 * bytes are copied out of the packet. Used by generated code only.
 */
import protobuf from "protobufjs/minimal.js";
import type { FieldInfo, MessageCodec, MethodTable } from "./message.ts";

type Reader = protobuf.Reader;
type Writer = protobuf.Writer;
type Unknowns = { $unknown?: Uint8Array[] };

export const NO_BYTES: Uint8Array = new Uint8Array(0);
/** Shared empties: most repeated and map fields are empty, and messages are never mutated. */
export const NONE: readonly never[] = Object.freeze([]);
export const NO_KEYS: Readonly<Record<string, never>> = Object.freeze({});

const maxSafeHigh = 0x1fffff;
/** Up to here a varint needs no two halves, which the writer would make an object of. */
const maxUint32 = 0xffffffff;

/**
 * Where messages are written, one after the other, before their bytes are copied: a buffer that grows with each message leaves
 * ten behind.
 */
const scratch = protobuf.Writer.create();
/** Beyond it the buffer is let go of after the message. */
const scratchBytesMax = 2 * 1024 * 1024;

/** What `use` makes of the writer that holds the message. */
function written<T, R>(message: T, enc: (message: T, w: Writer) => Writer, use: (w: Writer) => R): R {
  // A message that could not be encoded may have left something.
  scratch.pos = 0;
  if (scratch.states?.length) scratch.states = null;
  const result = use(enc(message, scratch));
  if (scratch.buf.length > scratchBytesMax) scratch.buf = Buffer.allocUnsafeSlow(protobuf.Writer.initialBufferSize);
  return result;
}

const finished = (w: Writer) => w.finish();
const length = (w: Writer) => w.pos;

/** Reads a varint into two halves; `pos` ends behind it. Longer than 10 bytes or past the end is refused. */
function readVarint(r: Reader): { low: number; high: number } {
  let low = 0;
  let high = 0;
  const { buf } = r;
  for (let i = 0; i < 10; i++) {
    if (r.pos >= r.len) throw new RangeError(`varint runs past the end at offset ${r.pos}`);
    const byte = buf[r.pos++]!;
    const bits = byte & 0x7f;
    if (i < 4) low |= bits << (7 * i);
    else if (i === 4) {
      low |= bits << 28;
      high |= bits >>> 4;
    } else high |= bits << (7 * i - 32);
    if (byte < 0x80) return { low: low >>> 0, high: high >>> 0 };
  }
  throw new RangeError(`varint longer than 10 bytes at offset ${r.pos}`);
}

export function readUint64(r: Reader, field: string): number {
  const first = r.buf[r.pos];
  if (first !== undefined && first < 0x80 && r.pos < r.len) {
    r.pos++;
    return first;
  }
  const { low, high } = readVarint(r);
  if (high === 0) return low;
  if (high > maxSafeHigh) throw new RangeError(`${field}: ${(BigInt(high) << 32n) | BigInt(low)} is beyond 2^53`);
  return high * 4294967296 + low;
}

export function readInt64(r: Reader, field: string): number {
  const { low, high } = readVarint(r);
  // Not by way of a product: V8 keeps what that gives in an object of its own, for each timestamp one.
  if (high === 0) return low;
  if (high <= maxSafeHigh) return high * 4294967296 + low;
  const value = BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));
  if (value < BigInt(Number.MIN_SAFE_INTEGER) || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new RangeError(`${field}: ${value} is beyond 2^53`);
  }
  return Number(value);
}

export function readId64(r: Reader): bigint {
  const { low, high } = readVarint(r);
  return (BigInt(high) << 32n) | BigInt(low);
}

export function writeUint64(w: Writer, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is not an unsigned integer below 2^53`);
  if (value <= maxUint32) w.uint32(value);
  else w.uint64(value);
}

export function writeInt64(w: Writer, value: number): void {
  if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not an integer within 2^53`);
  if (value >= 0 && value <= maxUint32) w.uint32(value);
  else w.int64(value);
}

export function writeId64(w: Writer, value: bigint): void {
  const bits = BigInt.asUintN(64, value);
  w.uint64({ low: Number(bits & 0xffffffffn) | 0, high: Number(bits >> 32n) | 0, unsigned: true } as never);
}

/** A copy: a view would keep the whole packet alive. */
export function readBytes(r: Reader): Uint8Array {
  const view = r.bytes();
  return view.length === 0 ? NO_BYTES : new Uint8Array(view);
}

/** Where the length-delimited value at `pos` ends. */
export function subMessageEnd(r: Reader, field: string): number {
  const length = r.uint32();
  const end = r.pos + length;
  if (end > r.len) throw new RangeError(`${field}: length ${length} runs past the end of the message`);
  return end;
}

/** Keeps an unknown field's raw bytes, tag included, so that encoding gives them back. */
export function skipUnknown(m: Unknowns, r: Reader, at: number, tag: number, end: number, message: string): void {
  if (tag >>> 3 === 0) throw new RangeError(`${message}: field number 0 at offset ${at}`);
  r.skipType(tag & 7);
  if (r.pos > end) throw new RangeError(`${message}: unknown field ${tag >>> 3} runs past the end of its message`);
  m.$unknown ??= [];
  m.$unknown.push(new Uint8Array(r.buf.slice(at, r.pos)));
}

export function tooDeep(message: string): never {
  throw new RangeError(`${message}: nested more than 100 deep`);
}

/** Sets a map entry, also for keys such as `__proto__` that plain assignment would misread. */
export function setKey(map: Record<string, unknown>, key: string | number | boolean, value: unknown): void {
  if (key === "__proto__") {
    Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
  } else map[String(key)] = value;
}

export function codecOf<T extends object>(
  typeName: string,
  make: () => T,
  enc: (message: T, w: Writer) => Writer,
  dec: (r: Reader, end: number, depth: number) => T,
  describe: () => readonly FieldInfo[],
  watchSelectors?: readonly string[],
): MessageCodec<T> {
  let fields: readonly FieldInfo[] | undefined;
  return {
    typeName,
    create: (init) => (init === undefined ? make() : Object.assign(make(), init)),
    encode: (message) => written(message, enc, finished),
    byteLength: (message) => written(message, enc, length),
    decode(bytes) {
      const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const r = protobuf.Reader.create(buffer);
      return dec(r, r.len, 0);
    },
    get fields() {
      fields ??= describe();
      return fields;
    },
    ...(watchSelectors ? { watchSelectors } : {}),
  };
}

export function methodTable<Req, Res, A extends boolean, B extends boolean>(
  path: string,
  request: MessageCodec<Req>,
  response: MessageCodec<Res>,
  requestStream: A,
  responseStream: B,
  roles: readonly string[] | "any",
): MethodTable<Req, Res, A, B> {
  return { path, request, response, requestStream, responseStream, roles };
}
