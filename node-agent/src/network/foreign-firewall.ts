/** Pure: no clock, no I/O, no randomness. */
import { meshes, routedPrefix } from "./names.ts";

/** What `nft -j list ruleset` prints, as far as it is read. */
interface Ruleset {
  readonly nftables: readonly {
    readonly chain?: {
      readonly family: string;
      readonly table: string;
      readonly name: string;
      readonly hook?: string;
      readonly policy?: string;
    };
    readonly rule?: {
      readonly family: string;
      readonly table: string;
      readonly chain: string;
      readonly comment?: string;
    };
  }[];
}

/** Marks our rules in others' chains. */
const comment = "starling";
const devices = [`"${routedPrefix}*"`, ...meshes.map(({ device }) => `"${device}"`)];
const families = new Set(["ip", "ip6", "inet"]);

/**
 * Chains of others that drop what is forwarded unless a rule accepts it (Docker's FORWARD, ufw's) and have none for our
 * devices, such as `ip filter FORWARD`. A packet must be accepted by every chain of the hook, so ours alone would not do;
 * what may pass is judged there.
 */
export function droppingChains(listing: string): readonly string[] {
  const { nftables } = JSON.parse(listing) as Ruleset;
  const admitted = new Set(
    nftables.flatMap(({ rule }) => (rule?.comment === comment ? [`${rule.family} ${rule.table} ${rule.chain}`] : [])),
  );
  return nftables.flatMap(({ chain }) => {
    if (chain?.hook !== "forward" || chain.policy !== "drop" || !families.has(chain.family)) return [];
    const name = `${chain.family} ${chain.table} ${chain.name}`;
    return chain.table === "starling" || admitted.has(name) ? [] : [name];
  });
}

/** Script for `nft -f` that has the chains accept what our devices bring and take. */
export function admitScript(chains: readonly string[]): string {
  const matches = devices.flatMap((device) => [`iifname ${device}`, `oifname ${device}`]);
  return chains
    .flatMap((chain) => matches.map((match) => `insert rule ${chain} ${match} counter accept comment "${comment}"\n`))
    .join("");
}
