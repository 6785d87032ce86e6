/** Pure: no clock, no I/O, no randomness. */
import type { Ruleset } from "./foreign-firewall.ts";

/**
 * Chains for the operators' own rules, before all of ours: what is dropped there is dropped, what is accepted is judged on. The
 * one of `inet` sees what the host routes: published ports, the mesh, tasks' way out; that of `bridge` sees what overlay networks
 * carry between their tasks, of one host or two. They are made where they are missing, and never touched.
 */
export const userTable = "starling_user";
const families = ["inet", "bridge"] as const;
const chain = "forward";

/** Names of those that the host lacks, as `inet starling_user forward`. A table with chains of other names is its operator's. */
export function missingUserChains({ nftables }: Ruleset): readonly string[] {
  const there = new Set(nftables.flatMap(({ chain: c }) => (c?.table === userTable ? [`${c.family} ${c.name}`] : [])));
  return families
    .filter((family) => !there.has(`${family} ${chain}`))
    .map((family) => `${family} ${userTable} ${chain}`);
}

/** Script for `nft -f` that makes them, without a policy: one that is there keeps its own. */
export function userChainScript(missing: readonly string[]): string {
  return missing
    .map((name) => {
      const table = name.split(" ").slice(0, 2).join(" ");
      return `add table ${table}\nadd chain ${name} { type filter hook forward priority -10; }\n`;
    })
    .join("");
}
