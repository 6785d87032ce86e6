/** Pure: no clock, no I/O, no randomness. */

/**
 * As much of DER (X.690) as certificates and requests for them need: definite lengths, low tag numbers.
 */
export type Der = Uint8Array;

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
} as const;
const utf8StringTag = 0x0c;
const setTag = 0x31;
const printableStringTag = 0x13;
const utcTimeTag = 0x17;
const generalizedTimeTag = 0x18;

/** An element of any tag around `contents`, which are put one after the other. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Der {
  const length = contents.reduce((sum, { length: each }) => sum + each, 0);
  return Buffer.concat([Uint8Array.of(tag, ...lengthBytes(length)), ...contents]);
}

export const sequence = (...elements: readonly Der[]): Der => element(tags.sequence, ...elements);
/** For sets of one: the order of more is not looked after. */
export const setOf = (only: Der): Der => element(setTag, only);
export const octetString = (content: Uint8Array): Der => element(tags.octetString, content);
export const boolean = (value: boolean): Der => element(tags.boolean, Uint8Array.of(value ? 0xff : 0));

/** Big-endian, not negative; leading zero bytes may be missing or too many. */
export function unsigned(bytes: Uint8Array): Der {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const digits = bytes.subarray(from);
  return element(tags.integer, (digits[0] ?? 0) & 0x80 ? Uint8Array.of(0) : new Uint8Array(), digits);
}

/** `unused`: bits of the last byte that do not belong to the string. */
export const bitString = (content: Uint8Array, unused = 0): Der =>
  element(tags.bitString, Uint8Array.of(unused), content);

/** From dotted numbers. */
export function oid(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return element(tags.oid, Uint8Array.from([first * 40 + second, ...rest].flatMap(base128)));
}

/** PrintableString where its few characters do, else UTF8String (RFC 5280 §4.1.2.4). */
export function text(value: string): Der {
  const tag = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value) ? printableStringTag : utf8StringTag;
  return element(tag, Buffer.from(value, "utf8"));
}

/** Whole seconds since the epoch; UTCTime before 2050 (RFC 5280 §4.1.2.5). */
export function time(epochMs: number): Der {
  const digits = `${new Date(epochMs).toISOString().replace(/[-:T]|\.\d+/g, "")}`;
  return digits < "2050"
    ? element(utcTimeTag, Buffer.from(digits.slice(2)))
    : element(generalizedTimeTag, Buffer.from(digits));
}

/** Tag of a context-specific element; constructed: it holds elements. */
export const contextTag = (number: number, constructed: boolean): number => 0x80 | (constructed ? 0x20 : 0) | number;

/** An element as it stands in its surroundings. */
export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
  /** With tag and length. */
  readonly whole: Der;
}

/** The one element that `bytes` hold. Throws RangeError when they hold less or more. */
export function parse(bytes: Uint8Array): Element {
  const only = elementAt(bytes, 0);
  if (only.whole.length !== bytes.length)
    throw new RangeError(`DER: ${bytes.length - only.whole.length} bytes too many`);
  return only;
}

/** The elements in a sequence, or in an element of another `tag`. Throws RangeError when it is something else. */
export function childrenOf({ tag, content }: Element, expected: number = tags.sequence): readonly Element[] {
  if (tag !== expected) throw new RangeError(`DER: tag ${tag}, want ${expected}`);
  const children: Element[] = [];
  for (let at = 0; at < content.length; at += children.at(-1)!.whole.length) children.push(elementAt(content, at));
  return children;
}

/** Dotted numbers of an OBJECT IDENTIFIER. Throws RangeError for another element. */
export function oidText({ tag, content }: Element): string {
  if (tag !== tags.oid) throw new RangeError(`DER: tag ${tag}, want an object identifier`);
  const numbers: number[] = [];
  let value = 0;
  for (const byte of content) {
    value = value * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    numbers.push(value);
    value = 0;
  }
  const [first = 0, ...rest] = numbers;
  const top = Math.min(2, Math.floor(first / 40));
  return [top, first - top * 40, ...rest].join(".");
}

/** Content of a BIT STRING of whole bytes. Throws RangeError for another element. */
export function bitsOf({ tag, content }: Element): Uint8Array {
  if (tag !== tags.bitString || content[0] !== 0) throw new RangeError(`DER: tag ${tag}, want a string of whole bytes`);
  return content.subarray(1);
}

function elementAt(bytes: Uint8Array, at: number): Element {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) throw new RangeError("DER: ends within an element");
  if ((tag & 0x1f) === 0x1f) throw new RangeError("DER: tag of many bytes");
  const lengthSize = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80 || lengthSize > 4) throw new RangeError("DER: length out of bounds");
  let length = lengthSize === 0 ? first : 0;
  for (let i = 0; i < lengthSize; i++) length = length * 256 + (bytes[at + 2 + i] ?? 0);
  const start = at + 2 + lengthSize;
  if (start + length > bytes.length) throw new RangeError("DER: ends within an element");
  return { tag, content: bytes.subarray(start, start + length), whole: bytes.subarray(at, start + length) };
}

function lengthBytes(length: number): readonly number[] {
  if (length < 0x80) return [length];
  const digits: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return [0x80 | digits.length, ...digits];
}

function base128(value: number): readonly number[] {
  const digits = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) digits.unshift(0x80 | (rest % 128));
  return digits;
}
