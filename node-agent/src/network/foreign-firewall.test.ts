import { expect, it } from "vitest";
import { admitScript, droppingChains } from "./foreign-firewall.ts";

const chain = (name: string, more: object = {}) => {
  const [family, table, own] = name.split(" ");
  return { chain: { family, table, name: own, hook: "forward", policy: "drop", ...more } };
};
const rule = (chainName: string, comment: string) => {
  const [family, table, own] = chainName.split(" ");
  return { rule: { family, table, chain: own, comment } };
};

it("chains of others count that drop by their policy and don't admit our devices yet", () => {
  const nftables = [
    chain("ip filter FORWARD"),
    chain("inet other forward"),
    chain("inet starling c_forward"),
    chain("ip6 filter FORWARD"),
    chain("ip filter OPEN", { policy: "accept" }),
    chain("ip filter INPUT", { hook: "input" }),
    { chain: { family: "ip", table: "filter", name: "DOCKER-USER" } },
    rule("inet other forward", "starling"),
    rule("ip filter FORWARD", "somebody's"),
  ];
  expect(droppingChains(JSON.stringify({ nftables }))).toEqual(["ip filter FORWARD", "ip6 filter FORWARD"]);
});

it("they are told to accept both directions of every device of ours", () => {
  const script = admitScript(["ip filter FORWARD"]);
  expect(script.split("\n").filter((line) => line !== "")).toHaveLength(6);
  expect(script).toContain('insert rule ip filter FORWARD oifname "sr-*" counter accept comment "starling"\n');
  expect(admitScript([])).toBe("");
});
