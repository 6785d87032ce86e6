import { describe, expect, it } from "vitest";
import { framesAreJudged, packetsAreJudged } from "./judged-by-rules.ts";

describe("rules about frames", () => {
  const chain = (family: string, table: string, more: object = {}) => ({
    chain: { family, table, name: "forward", hook: "forward", policy: "accept", ...more },
  });
  const rule = (family: string, table: string) => ({ rule: { family, table, chain: "forward" } });
  const empty = [chain("inet", "starling"), rule("inet", "starling"), chain("bridge", "starling_user")];

  it.each([
    ["none but an empty chain", [], false],
    ["one of the operators' chain", [rule("bridge", "starling_user")], true],
    ["one of a table of their own", [chain("bridge", "mine"), rule("bridge", "mine")], true],
    ["a policy that drops", [chain("bridge", "mine", { policy: "drop" })], true],
    [
      "those of the routing mesh",
      [chain("netdev", "starling", { dev: "starling-mesh" }), rule("netdev", "starling")],
      false,
    ],
    ["one at the host's own device", [chain("netdev", "mine", { dev: "eth0" }), rule("netdev", "mine")], false],
    ["one at a task's device", [chain("netdev", "mine", { dev: "so0-task1" }), rule("netdev", "mine")], true],
    [
      "one at VXLAN among others",
      [chain("netdev", "mine", { dev: ["eth0", "sx-net1"] }), rule("netdev", "mine")],
      true,
    ],
    ["a chain at a task's device without rules", [chain("netdev", "mine", { dev: "so0-task1" })], false],
  ])("%s", (_, further, judged) => {
    expect(framesAreJudged({ nftables: [...empty, ...further] })).toBe(judged);
  });
});

describe("who judges packets that the host forwards", () => {
  const chain = (table: string, more: object = {}) => {
    const [family, name] = table.split(" ");
    return {
      chain: {
        family: family!,
        table: name!,
        name: "chain",
        type: "filter",
        hook: "forward",
        policy: "accept",
        ...more,
      },
    };
  };
  const rule = (table: string) => {
    const [family, name] = table.split(" ");
    return { rule: { family: family!, table: name!, chain: "chain" } };
  };
  const ours = [
    chain("inet starling"),
    rule("inet starling"),
    chain("netdev starling", { hook: "egress", dev: "starling-mesh" }),
    rule("netdev starling"),
    chain("inet starling_user"),
    chain("bridge starling_user"),
  ];
  const judged = (further: readonly object[], others: object = {}) =>
    packetsAreJudged({ nftables: [...ours, ...further] }, { legacyTables: [], ipsecPolicies: 0, ...others });

  it.each([
    ["nobody: ours, and chains without rules", [chain("ip filter")], false],
    ["operators, in their chain", [rule("inet starling_user")], true],
    ["another firewall's rules of what is forwarded", [chain("ip filter"), rule("ip filter")], true],
    ["its policy", [chain("ip filter", { policy: "drop" })], true],
    ["a rule before routing", [chain("ip raw", { hook: "prerouting" }), rule("ip raw")], true],
    ["a rule at a network card", [chain("netdev mine", { hook: "ingress", dev: "eth0" }), rule("netdev mine")], true],
    [
      "none who judges what the host itself takes",
      [chain("ip filter", { hook: "input", policy: "drop" }), rule("ip filter")],
      false,
    ],
    ["none who translates addresses", [chain("ip nat", { type: "nat", hook: "postrouting" }), rule("ip nat")], false],
    ["none of IPv6", [chain("ip6 filter", { policy: "drop" }), rule("ip6 filter")], false],
    ["none by a chain that no hook has", [chain("ip filter", { hook: undefined }), rule("ip filter")], false],
  ])("%s", (_, further, expected) => {
    expect(judged(further)).toBe(expected);
  });

  it("iptables of the old make, but for its translation", () => {
    expect(judged([], { legacyTables: ["nat"] })).toBe(false);
    expect(judged([], { legacyTables: ["nat", "filter"] })).toBe(true);
  });

  it("IPsec's policies", () => {
    expect(judged([], { ipsecPolicies: 1 })).toBe(true);
  });
});
