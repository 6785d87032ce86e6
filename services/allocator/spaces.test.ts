import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AddressSpace } from "./address-space.ts";
import { NumberSpace } from "./numbers.ts";
import { contains, freeSubnet, overlap, parseAddressNumber, parseSubnet, subnetText } from "./subnet.ts";

const subnet = (text: string) => parseSubnet(text)!;
const address = (text: string) => parseAddressNumber(text)!;

describe("freeSubnet", () => {
  it("fills a pool with subnets that don't overlap, up or down, and says when it is full", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ prefix: fc.integer({ min: 22, max: 26 }), down: fc.boolean() }), { maxLength: 30 }),
        (wishes) => {
          const pool = subnet("10.1.0.0/20");
          const taken = [subnet("10.0.255.0/24"), subnet("10.1.3.128/25")];
          for (const { prefix, down } of wishes) {
            const found = freeSubnet([pool], prefix, taken, down ? "down" : "up");
            if (found === undefined) {
              const size = 2n ** BigInt(32 - prefix);
              for (let first = pool.first; first < pool.first + 4096n; first += size) {
                expect(taken.some((other) => overlap(other, { bits: 32, first, prefix }))).toBe(true);
              }
              continue;
            }
            expect(contains(pool, { bits: 32, value: found.first })).toBe(true);
            expect(taken.filter((other) => overlap(other, found)).map(subnetText)).toEqual([]);
            taken.push(found);
          }
        },
      ),
    );
  });
});

describe("AddressSpace", () => {
  it("gives every address of the range once, and a freed one only after the others", () => {
    const space = new AddressSpace(subnet("10.0.0.0/29"), subnet("10.0.0.0/29"), [address("10.0.0.1")]);
    expect([space.take(), space.take()]).toEqual(["10.0.0.2/29", "10.0.0.3/29"]);
    space.free(address("10.0.0.2"));
    expect([space.take(), space.take(), space.take(), space.take(), space.take()]).toEqual([
      "10.0.0.4/29",
      "10.0.0.5/29",
      "10.0.0.6/29",
      "10.0.0.2/29",
      undefined,
    ]);
  });
});

it("IPv6 subnets come from IPv6 pools, with addresses in canonical form", () => {
  const found = freeSubnet([subnet("fd01::/48")], 64, [subnet("fd01::/64"), subnet("10.0.0.0/8")])!;
  expect(subnetText(found)).toBe("fd01:0:0:1::/64");
  const space = new AddressSpace(found, subnet("fd01:0:0:1::ff00/120"), [address("fd01:0:0:1::ff00")]);
  expect([
    space.take(),
    space.takeExactly(address("fd01:0:0:1:0:0:0:5")),
    space.takeExactly(address("10.0.0.5")),
  ]).toEqual(["fd01:0:0:1::ff01/64", "fd01:0:0:1::5/64", undefined]);
});

describe("NumberSpace", () => {
  it("gives a number to one owner at a time", () => {
    const space = new NumberSpace(1, 3);
    expect([space.take("a"), space.take("b"), space.takeExactly(3, "c"), space.take("d")]).toEqual([
      1,
      2,
      true,
      undefined,
    ]);
    expect(space.takeExactly(2, "c")).toBe(false);
    space.free(2, "c");
    expect(space.ownerOf(2)).toBe("b");
    space.free(2, "b");
    expect(space.take("d")).toBe(2);
  });
});
