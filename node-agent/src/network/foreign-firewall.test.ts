import { expect, it } from "vitest";
import { admitScript, allDevices, droppingChains } from "./foreign-firewall.ts";
import { missingUserChains, userChainScript } from "./user-rules.ts";

const chain = (name: string, more: object = {}) => {
  const [family, table, own] = name.split(" ");
  return { chain: { family: family!, table: table!, name: own!, hook: "forward", policy: "drop", ...more } };
};
const rule = (chainName: string, comment: string, ...expr: readonly object[]) => {
  const [family, table, own] = chainName.split(" ");
  return { rule: { family: family!, table: table!, chain: own!, comment, expr } };
};
const match = (key: string, right: string) => ({ match: { op: "==", left: { meta: { key } }, right } });
/** Our rules, as nft lists them. */
const admitting = (chainName: string) =>
  allDevices
    .split(", ")
    .flatMap((device) => ["iifname", "oifname"].map((key) => match(key, device)))
    .map((expr) => rule(chainName, "starling", expr, { counter: {} }, { accept: null }));
const reject = { reject: { type: "icmpx", expr: "admin-prohibited" } };
const established = { match: { op: "in", left: { ct: { key: "state" } }, right: "established" } };

it("chains of others count that drop by their policy or their last rule and don't admit our devices yet", () => {
  const nftables = [
    chain("ip filter FORWARD"),
    chain("ip6 filter FORWARD"),
    chain("inet other forward"),
    chain("inet firewalld filter_FORWARD", { policy: "accept" }),
    chain("inet lenient forward", { policy: "accept" }),
    chain("inet starling c_forward"),
    chain("inet starling_user forward"),
    chain("ip filter OPEN", { policy: "accept" }),
    chain("ip filter INPUT", { hook: "input" }),
    { chain: { family: "ip", table: "filter", name: "DOCKER-USER" } },
    ...admitting("inet other forward"),
    rule("ip filter FORWARD", "somebody's", match("iifname", "sr-*"), { accept: null }),
    rule("inet firewalld filter_FORWARD", "", established, { accept: null }),
    rule("inet firewalld filter_FORWARD", "", { counter: {} }, reject),
    rule("inet lenient forward", "", reject),
    rule("inet lenient forward", "", established, reject),
  ];
  const names = droppingChains({ nftables }).map(({ name }) => name);
  expect(names).toEqual(["ip filter FORWARD", "ip6 filter FORWARD", "inet firewalld filter_FORWARD"]);
});

it("they are told to accept both directions of every device of ours, as far as they don't", () => {
  const some = [chain("ip filter FORWARD"), ...admitting("ip filter FORWARD").slice(1)];
  expect(droppingChains({ nftables: some }).map(admitScript)).toEqual([
    'insert rule ip filter FORWARD iifname "sr-*" counter accept comment "starling"\n',
  ]);
  const [none] = droppingChains({ nftables: some.slice(0, 1) });
  expect(none!.missing).toHaveLength(10);
  expect(admitScript(none!)).toContain('oifname "sb-*" counter accept');
});

it("operators' chains are made where they are missing, those that are there left alone", () => {
  const mine = chain("bridge starling_user forward", { policy: "drop" });
  expect(missingUserChains({ nftables: [mine, chain("inet starling forward")] })).toEqual([
    "inet starling_user forward",
  ]);
  expect(userChainScript(missingUserChains({ nftables: [mine] }))).toBe(
    "add table inet starling_user\nadd chain inet starling_user forward { type filter hook forward priority -10; }\n",
  );
  expect(userChainScript([])).toBe("");
});
