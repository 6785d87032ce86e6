/** Pure: no clock, no I/O, no randomness. */
import type { Ruleset } from "./foreign-firewall.ts";
import { mayHaveShortcut } from "./shortcut-plan.ts";

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
    if (chain.family === "netdev" && devices.some(mayHaveShortcut)) atOurs.add(`${chain.table} ${chain.name}`);
  }
  return nftables.some(
    ({ rule }) => rule?.family === "bridge" || (rule?.family === "netdev" && atOurs.has(`${rule.table} ${rule.chain}`)),
  );
}
