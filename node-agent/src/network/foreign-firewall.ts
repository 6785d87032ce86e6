/** Pure: no clock, no I/O, no randomness. */
import { relayDevices } from "./encryption/addresses.ts";
import { bridgePrefix, meshes, routedPrefix } from "./names.ts";

/** What `nft -j list ruleset` prints, as far as it is read. */
export interface Ruleset {
  readonly nftables: readonly {
    readonly chain?: {
      readonly family: string;
      readonly table: string;
      readonly name: string;
      readonly type?: string;
      readonly hook?: string;
      readonly policy?: string;
      /** Of `netdev`: device, or several. */
      readonly dev?: string | readonly string[];
    };
    readonly rule?: {
      readonly family: string;
      readonly table: string;
      readonly chain: string;
      readonly comment?: string;
      readonly expr?: readonly object[];
    };
  }[];
}

type Rule = NonNullable<Ruleset["nftables"][number]["rule"]>;

/** Marks our rules in others' chains. */
const comment = "starling";
/** Bridges, too: where `bridge-nf-call-iptables` is on, as Docker may have it, bridged frames pass these chains. */
const devices = [`${routedPrefix}*`, `${bridgePrefix}*`, ...meshes.map(({ device }) => device), relayDevices];
/** For a person to read. */
export const allDevices = devices.join(", ");
const matches = devices.flatMap((device) => [`iifname "${device}"`, `oifname "${device}"`]);
const families = new Set(["ip", "ip6", "inet"]);
/** Whose chains are judged by themselves: ours, and what operators want dropped. */
const spared = new Set(["starling", "starling_user"]);

/** A chain of another firewall, and those of our matches that it has no rule for. */
export interface DroppingChain {
  readonly name: string;
  readonly missing: readonly string[];
}

/**
 * Chains of others that drop what is forwarded unless a rule accepts it, by their policy (Docker's FORWARD, ufw's) or by their
 * last rule (firewalld's filter_FORWARD), and lack rules for our devices. A packet must be accepted by every chain of the
 * hook, so ours alone would not do; what may pass is judged there.
 */
export function droppingChains({ nftables }: Ruleset): readonly DroppingChain[] {
  const rules = new Map<string, Rule[]>();
  for (const { rule } of nftables) {
    if (rule === undefined) continue;
    const chain = `${rule.family} ${rule.table} ${rule.chain}`;
    rules.set(chain, [...(rules.get(chain) ?? []), rule]);
  }
  return nftables.flatMap(({ chain }) => {
    if (chain?.hook !== "forward" || !families.has(chain.family) || spared.has(chain.table)) return [];
    const name = `${chain.family} ${chain.table} ${chain.name}`;
    const own = rules.get(name) ?? [];
    if (chain.policy !== "drop" && !dropsAll(own.at(-1))) return [];
    const admitted = new Set(own.filter((rule) => rule.comment === comment).map(matchOf));
    const missing = matches.filter((match) => !admitted.has(match));
    return missing.length === 0 ? [] : [{ name, missing }];
  });
}

/** Whether the rule drops or refuses whatever comes to it. */
function dropsAll(rule: Rule | undefined): boolean {
  const [verdict, ...others] = (rule?.expr ?? []).filter((part) => !("counter" in part || "log" in part));
  return verdict !== undefined && others.length === 0 && ("drop" in verdict || "reject" in verdict);
}

/** `iifname "sr-*"` of a rule of ours. */
function matchOf({ expr = [] }: Rule): string {
  type Match = { readonly left?: { readonly meta?: { readonly key?: string } }; readonly right?: unknown };
  const match = expr.flatMap((part) => ("match" in part ? [part.match as Match] : []))[0];
  return `${match?.left?.meta?.key} "${match?.right}"`;
}

/** Script for `nft -f` that has the chain accept what our devices bring and take. */
export function admitScript({ name, missing }: DroppingChain): string {
  return missing.map((match) => `insert rule ${name} ${match} counter accept comment "${comment}"\n`).join("");
}
