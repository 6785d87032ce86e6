import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bytes, entry } from "./test-group.ts";
import { ConfChangeTransition, ConfChangeType, EntryType, noData } from "./types.ts";
import {
  decodeConfChange,
  decodeConfChangeV2,
  decodeConfState,
  encodeConfChange,
  encodeConfChangeV2,
  encodeConfState,
  entrySize,
} from "./wire.ts";

const hex = (data: Uint8Array) => Buffer.from(data).toString("hex");
const unhex = (text: string) => Uint8Array.from(Buffer.from(text, "hex"));
const id = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const type = fc.constantFrom(...Object.values(ConfChangeType));

describe("conf changes as protobuf", () => {
  it.each([{ name: "as Swarm writes them", wire: "0800100018ffffffffffffffff7f2201ff", nodeId: 2n ** 63n - 1n }])(
    "decode $name",
    ({ wire, nodeId }) => {
      const cc = decodeConfChange(unhex(wire));
      expect(cc).toEqual({ type: ConfChangeType.ConfChangeAddNode, nodeId, context: Uint8Array.of(255), id: 0n });
      expect(hex(encodeConfChange(cc))).toBe(wire);
    },
  );

  it("an empty payload is the change that leaves the joint configuration", () => {
    expect(decodeConfChangeV2(noData)).toEqual({ transition: undefined, changes: [], context: undefined });
    expect(encodeConfChangeV2({ changes: [] })).toHaveLength(0);
  });

  it("survive a round trip", () => {
    const context = fc.option(fc.uint8Array({ minLength: 1 }), { nil: undefined });
    const single = fc.record({ type, nodeId: id });
    const transition = fc.constantFrom(...Object.values(ConfChangeTransition), undefined);
    fc.assert(
      fc.property(fc.record({ type, nodeId: id, context, id: fc.option(id, { nil: undefined }) }), (cc) => {
        expect(decodeConfChange(encodeConfChange(cc))).toEqual(cc);
      }),
    );
    fc.assert(
      fc.property(fc.record({ transition, changes: fc.array(single), context }), (cc) => {
        expect(decodeConfChangeV2(encodeConfChangeV2(cc))).toEqual(cc);
      }),
    );
  });

  it("truncated or foreign bytes are refused, never misread", () => {
    const whole = encodeConfChangeV2({ changes: [{ type: ConfChangeType.ConfChangeAddNode, nodeId: 300n }] });
    expect(() => decodeConfChangeV2(whole.subarray(0, whole.length - 1))).toThrow(
      "cannot decode ConfChangeV2: truncated",
    );
    expect(() => decodeConfChange(unhex("ff"))).toThrow("truncated at byte 1 of 1");
    expect(() => decodeConfChange(bytes("garbage"))).toThrow("cannot decode ConfChange");
  });

  it("unknown fields are skipped", () => {
    expect(decodeConfChange(unhex("1001 1805 7a021234 79 0102030405060708".replaceAll(" ", "")))).toMatchObject({
      type: ConfChangeType.ConfChangeRemoveNode,
      nodeId: 5n,
    });
  });
});

describe("ConfState as protobuf", () => {
  it("survives a round trip, and packed ids are read, too", () => {
    const list = fc.array(id, { maxLength: 4 });
    const confState = fc.record({
      voters: list,
      learners: list,
      votersOutgoing: list,
      learnersNext: list,
      autoLeave: fc.boolean(),
    });
    fc.assert(
      fc.property(confState, (cs) => {
        expect(decodeConfState(encodeConfState(cs))).toEqual(cs);
      }),
    );
    expect(decodeConfState(unhex("0a0401ac0202")).voters).toEqual([1n, 300n, 2n]);
  });
});

describe("entry size", () => {
  it.each([
    { e: entry(1, 1), size: 4 },
    { e: entry(1, 128, "abc"), size: 10 },
    { e: entry(2 ** 40, 2 ** 50, "x".repeat(200)), size: 7 + 9 + 203 },
    { e: { ...entry(1, 1, "x"), type: EntryType.EntryConfChange }, size: 9 },
  ])("of $e.term/$e.index is $size bytes", ({ e, size }) => {
    expect(entrySize(e)).toBe(size);
  });
});
