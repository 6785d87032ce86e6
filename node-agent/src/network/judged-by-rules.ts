/** Pure: no clock, no I/O, no randomness. */
import type { Ruleset } from "./foreign-firewall.ts";
import { frameShortcuts } from "./frame-plan.ts";

/**
 * Whether anybody's rules judge frames of overlay networks: operators' of `bridge` (their chain `forward`, or a table of their own), or of
 * `netdev` at our devices. An empty chain that lets all pass judges none.
 */
export function framesAreJudged({ nftables }: Ruleset): boolean {
  const atOurs = new Set<string>();
  for (const { chain } of nftables) {
    if (chain === undefined) continue;
    const devices = [chain.dev ?? []].flat();
    if (chain.family === "bridge" && chain.policy === "drop") return true;
    if (chain.family === "netdev" && devices.some(frameShortcuts.mayHave)) atOurs.add(`${chain.table} ${chain.name}`);
  }
  return nftables.some(
    ({ rule }) => rule?.family === "bridge" || (rule?.family === "netdev" && atOurs.has(`${rule.table} ${rule.chain}`)),
  );
}

const ours = new Set(["starling", "starling_safe"]);
/** Where packets pass that a host forwards. */
const hooks = new Set(["ingress", "prerouting", "forward", "postrouting", "egress"]);
const families = new Set(["ip", "inet", "netdev"]);

/** What judges packets beside the rules that nftables list. */
export interface OtherJudges {
  /** Names of tables of iptables of the old make. */
  readonly legacyTables: readonly string[];
  /** How many policies of IPsec there are. */
  readonly ipsecPolicies: number;
}

/**
 * Whether anybody judges each packet that the host forwards over IPv4: operators' rules, another firewall, IPsec. Rules about
 * addresses (of type `nat`) judge the first of a connection alone, and those about what the host itself takes or sends none.
 */
export function packetsAreJudged({ nftables }: Ruleset, { legacyTables, ipsecPolicies }: OtherJudges): boolean {
  if (ipsecPolicies > 0 || legacyTables.some((table) => table !== "nat")) return true;
  const chains = new Set<string>();
  for (const { chain } of nftables) {
    if (chain === undefined || !families.has(chain.family) || ours.has(chain.table)) continue;
    if (!hooks.has(chain.hook ?? "") || chain.type === "nat") continue;
    if (chain.policy === "drop") return true;
    chains.add(`${chain.family} ${chain.table} ${chain.name}`);
  }
  return nftables.some(({ rule }) => rule !== undefined && chains.has(`${rule.family} ${rule.table} ${rule.chain}`));
}
