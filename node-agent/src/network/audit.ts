import { runSteps } from "@starling/native/net";
import type { NftTable } from "./nft-table.ts";

/** How many of `tables` are not in the namespace as they should be, by their chains' rules and their sets' elements, counted. */
export async function auditTables(netns: string | undefined, tables: readonly NftTable[]): Promise<number> {
  let wrong = 0;
  for (const table of tables) {
    const [listing] = await runSteps(netns, [{ type: "nft", script: `list table ${table.name}`, json: true }]);
    if (!listing.ok || !sameCounts(table, countListing(JSON.parse(listing.output)))) wrong++;
  }
  return wrong;
}

interface Counts {
  readonly rules: ReadonlyMap<string, number>;
  readonly elements: ReadonlyMap<string, number>;
}

interface ListedSet {
  readonly name: string;
  readonly elem?: readonly unknown[];
}

/** The part of libnftables-json(5) that counts. */
interface Listing {
  readonly nftables: readonly {
    readonly chain?: { readonly name: string };
    readonly rule?: { readonly chain: string };
    readonly set?: ListedSet;
    readonly map?: ListedSet;
  }[];
}

function countListing(listing: Listing): Counts {
  const rules = new Map<string, number>();
  const elements = new Map<string, number>();
  for (const { chain, rule, set, map } of listing.nftables) {
    if (chain) rules.set(chain.name, rules.get(chain.name) ?? 0);
    if (rule) rules.set(rule.chain, (rules.get(rule.chain) ?? 0) + 1);
    for (const listed of [set, map]) if (listed) elements.set(listed.name, listed.elem?.length ?? 0);
  }
  return { rules, elements };
}

function sameCounts(table: NftTable, counts: Counts): boolean {
  return (
    table.chains.length === counts.rules.size &&
    table.chains.every((chain) => counts.rules.get(chain.name) === chain.rules.length) &&
    table.sets.every((set) => counts.elements.get(set.name) === set.elements.size)
  );
}
