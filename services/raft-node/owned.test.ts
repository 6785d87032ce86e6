import { getHeapStatistics } from "node:v8";
import { type Entry, EntryType } from "raft-ts";
import { describe, expect, it } from "vitest";
import { owningEntry } from "./owned.ts";

const entryOf = (data: Uint8Array): Entry => ({ term: 2, index: 7, type: EntryType.EntryNormal, data });
const mebibyte = 1024 * 1024;

describe("an entry with memory of its own", () => {
  const batch = new Uint8Array(64).fill(9);

  it.each([5, 0])("is the same, and %d bytes of a batch keep nothing else of it alive", (length) => {
    const entry = entryOf(batch.subarray(3, 3 + length));
    const owned = owningEntry(entry);
    expect(owned).toEqual(entry);
    expect(owned.data.buffer.byteLength).toBe(length);
  });

  it("is copied once, a part of one again", () => {
    const owned = owningEntry(entryOf(batch));
    expect(owningEntry(owned)).toBe(owned);
    const part = owningEntry(entryOf(owned.data.subarray(0, 4)));
    expect(part.data.buffer.byteLength).toBe(4);
  });

  it("does not count as what V8 hurries to free", () => {
    const counted = () => getHeapStatistics().external_memory;
    const source = entryOf(new Uint8Array(mebibyte));
    const before = counted();
    const kept = Array.from({ length: 16 }, () => owningEntry(source));
    expect(counted() - before).toBeLessThan(mebibyte);
    expect(kept.map(({ data }) => data.byteLength)).toEqual(Array(16).fill(mebibyte));
  });
});
