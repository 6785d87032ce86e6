/** Pure: no clock, no I/O, no randomness. */
import { RaftError } from "./errors.ts";
import {
  type ConfChange,
  type ConfChangeSingle,
  type ConfChangeTransition,
  type ConfChangeType,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  EntryType,
  refusedConfChangeData,
} from "./types.ts";

// The proto2 encoding of raftpb's ConfChange, ConfChangeV2 and ConfState, which travel inside of log entries and
// snapshots, and the encoded size of an Entry, which flow control counts in.

const varintWire = 0;
const bytesWire = 2;

class Writer {
  readonly #bytes: number[] = [];

  #varint(value: bigint): void {
    let rest = BigInt.asUintN(64, value);
    while (rest > 0x7fn) {
      this.#bytes.push(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.#bytes.push(Number(rest));
  }

  number(field: number, value: bigint | number): void {
    this.#varint(BigInt((field << 3) | varintWire));
    this.#varint(BigInt(value));
  }

  bytes(field: number, value: Uint8Array): void {
    this.#varint(BigInt((field << 3) | bytesWire));
    this.#varint(BigInt(value.length));
    for (const byte of value) this.#bytes.push(byte);
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

type FieldValue =
  | { readonly t: "number"; readonly value: bigint }
  | { readonly t: "bytes"; readonly value: Uint8Array };

/** The fields of one message in order; fixed-width ones, which these messages don't have, are skipped. */
function* fields(data: Uint8Array, message: string): Generator<readonly [number, FieldValue]> {
  let at = 0;
  const truncated = () => new RaftError(`cannot decode ${message}: truncated at byte ${at} of ${data.length}`);
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = data[at];
      if (byte === undefined) throw truncated();
      at++;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new RaftError(`cannot decode ${message}: varint longer than 10 bytes at byte ${at}`);
  };
  const take = (length: number): Uint8Array => {
    if (length > data.length - at) throw truncated();
    at += length;
    return data.subarray(at - length, at);
  };
  while (at < data.length) {
    const tag = Number(varint());
    const field = Math.floor(tag / 8);
    if (field === 0) throw new RaftError(`cannot decode ${message}: field number 0 at byte ${at}`);
    switch (tag % 8) {
      case varintWire:
        yield [field, { t: "number", value: varint() }];
        break;
      case 1:
        take(8);
        break;
      case bytesWire:
        yield [field, { t: "bytes", value: take(Number(varint())) }];
        break;
      case 5:
        take(4);
        break;
      default:
        throw new RaftError(`cannot decode ${message}: wire type ${tag % 8} of field ${field} at byte ${at}`);
    }
  }
}

const asEnum = <T extends number>(value: bigint): T => Number(BigInt.asIntN(32, value)) as T;

export function encodeConfChange(cc: ConfChange): Uint8Array {
  const w = new Writer();
  if (cc.id !== undefined) w.number(1, cc.id);
  w.number(2, cc.type);
  w.number(3, cc.nodeId);
  if (cc.context !== undefined && cc.context.length > 0) w.bytes(4, cc.context);
  return w.finish();
}

/** @throws RaftError if `data` is not a ConfChange. */
export function decodeConfChange(data: Uint8Array): ConfChange {
  let id: bigint | undefined;
  let type: ConfChangeType = 0;
  let nodeId = 0n;
  let context: Uint8Array | undefined;
  for (const [field, v] of fields(data, "ConfChange")) {
    if (v.t === "number") {
      if (field === 1) id = v.value;
      else if (field === 2) type = asEnum(v.value);
      else if (field === 3) nodeId = v.value;
    } else if (field === 4) context = v.value;
  }
  return { type, nodeId, context, id };
}

function encodeConfChangeSingle(cc: ConfChangeSingle): Uint8Array {
  const w = new Writer();
  w.number(1, cc.type);
  w.number(2, cc.nodeId);
  return w.finish();
}

function decodeConfChangeSingle(data: Uint8Array): ConfChangeSingle {
  let type: ConfChangeType = 0;
  let nodeId = 0n;
  for (const [field, v] of fields(data, "ConfChangeSingle")) {
    if (v.t !== "number") continue;
    if (field === 1) type = asEnum(v.value);
    else if (field === 2) nodeId = v.value;
  }
  return { type, nodeId };
}

export function encodeConfChangeV2(cc: ConfChangeV2): Uint8Array {
  const w = new Writer();
  if (cc.transition !== undefined) w.number(1, cc.transition);
  for (const change of cc.changes) w.bytes(2, encodeConfChangeSingle(change));
  if (cc.context !== undefined && cc.context.length > 0) w.bytes(3, cc.context);
  return w.finish();
}

/** @throws RaftError if `data` is not a ConfChangeV2. */
export function decodeConfChangeV2(data: Uint8Array): ConfChangeV2 {
  let transition: ConfChangeTransition | undefined;
  const changes: ConfChangeSingle[] = [];
  let context: Uint8Array | undefined;
  for (const [field, v] of fields(data, "ConfChangeV2")) {
    if (v.t === "number") {
      if (field === 1) transition = asEnum(v.value);
    } else if (field === 2) changes.push(decodeConfChangeSingle(v.value));
    else if (field === 3) context = v.value;
  }
  return { transition, changes, context };
}

export function encodeConfState(cs: ConfState): Uint8Array {
  const w = new Writer();
  for (const id of cs.voters) w.number(1, id);
  for (const id of cs.learners) w.number(2, id);
  for (const id of cs.votersOutgoing) w.number(3, id);
  for (const id of cs.learnersNext) w.number(4, id);
  w.number(5, cs.autoLeave ? 1 : 0);
  return w.finish();
}

/** Takes ids one by one and packed. @throws RaftError if `data` is not a ConfState. */
export function decodeConfState(data: Uint8Array): ConfState {
  const lists: [bigint[], bigint[], bigint[], bigint[]] = [[], [], [], []];
  let autoLeave = false;
  for (const [field, v] of fields(data, "ConfState")) {
    const list = lists[field - 1];
    if (v.t === "number") {
      if (list !== undefined) list.push(v.value);
      else if (field === 5) autoLeave = v.value !== 0n;
    } else if (list !== undefined) {
      list.push(...unpackVarints(v.value));
    }
  }
  return { voters: lists[0], learners: lists[1], votersOutgoing: lists[2], learnersNext: lists[3], autoLeave };
}

function unpackVarints(data: Uint8Array): bigint[] {
  const values: bigint[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of data) {
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    values.push(BigInt.asUintN(64, value));
    value = 0n;
    shift = 0n;
  }
  if (shift !== 0n) throw new RaftError(`cannot decode ConfState: truncated in ${data.length} bytes of packed ids`);
  return values;
}

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

/**
 * Bytes of `entry` as protobuf. As in etcd's raft from v3.7 on, a normal entry's type and an empty payload take none.
 */
export function entrySize(entry: Entry): number {
  const length = entry.data.length;
  return (
    (entry.type === EntryType.EntryNormal && entry.data !== refusedConfChangeData ? 0 : 2) +
    1 +
    varintSize(entry.term) +
    1 +
    varintSize(entry.index) +
    (length === 0 ? 0 : 1 + varintSize(length) + length)
  );
}

export function entriesSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entrySize(entry);
  return size;
}

/** Bytes of the payloads alone: independent of term and index, zero for the entries that raft itself makes. */
export function payloadsSize(entries: readonly Entry[]): number {
  let size = 0;
  for (const entry of entries) size += entry.data.length;
  return size;
}
