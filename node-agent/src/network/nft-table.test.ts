import { describe, expect, it } from "vitest";
import { type NftTable, planTable } from "./nft-table.ts";

const table = (elements: Record<string, string>, chains: Record<string, readonly string[]>): NftTable => ({
  name: "ip t",
  sets: [{ name: "m", type: "ipv4_addr", value: "verdict", elements: new Map(Object.entries(elements)) }],
  chains: Object.entries(chains).map(([name, rules]) => ({ name, rules })),
});

describe("planTable", () => {
  it("replaces a table that is not known, elements last since they name chains", () => {
    expect(planTable(undefined, table({ "10.0.0.1": "goto a" }, { a: ["accept"] })).split("\n")).toEqual([
      "add table ip t",
      "delete table ip t",
      "table ip t {",
      "  map m { type ipv4_addr : verdict; }",
      "  chain a {",
      "    accept",
      "  }",
      "}",
      "add element ip t m { 10.0.0.1 : goto a }",
      "",
    ]);
  });

  it("says nothing when nothing changes", () => {
    expect(
      planTable(table({ "10.0.0.1": "goto a" }, { a: ["accept"] }), table({ "10.0.0.1": "goto a" }, { a: ["accept"] })),
    ).toBe("");
  });

  it("changes only what differs: new chains before the elements that need them, old ones deleted after theirs", () => {
    const before = table({ "10.0.0.1": "goto a", "10.0.0.2": "goto b" }, { a: ["accept"], b: ["drop"], c: ["goto a"] });
    const after = table({ "10.0.0.1": "goto d", "10.0.0.2": "goto b" }, { b: ["accept"], d: ["drop"] });
    expect(planTable(before, after).trim().split("\n")).toEqual([
      "add chain ip t d",
      "flush chain ip t b",
      "add rule ip t b accept",
      "add rule ip t d drop",
      "delete element ip t m { 10.0.0.1 }",
      "add element ip t m { 10.0.0.1 : goto d }",
      "flush chain ip t a",
      "flush chain ip t c",
      "delete chain ip t a",
      "delete chain ip t c",
    ]);
  });
});
