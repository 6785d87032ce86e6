/** Pure: no clock, no I/O, no randomness. */

interface ListedSet {
  readonly name: string;
  readonly elem?: readonly unknown[];
}

/** What `list table` prints as JSON (libnftables-json(5)), as far as it is compared. */
export interface Listing {
  readonly nftables: readonly {
    readonly chain?: { readonly name: string };
    readonly rule?: { readonly chain: string; readonly expr: readonly unknown[] };
    readonly set?: ListedSet;
    readonly map?: ListedSet;
  }[];
}

export interface Difference {
  readonly detail: string;
}

const shown = 3;

/** How a table that is there differs from the one that should be, chain by chain and set by set. Handles don't count, nor the order of elements. */
export function compareListings(wanted: Listing, found: Listing): readonly Difference[] {
  const [before, after] = [partsOf(wanted), partsOf(found)];
  const differences: Difference[] = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const [should, is] = [before.get(name), after.get(name)];
    if (should === undefined) differences.push({ detail: `${name} should not be there` });
    else if (is === undefined) differences.push({ detail: `${name} is missing` });
    else if (should.join() !== is.join()) differences.push({ detail: `${name} ${contrast(should, is)}` });
  }
  return differences;
}

function contrast(should: readonly string[], is: readonly string[]): string {
  const [wanted, found] = [new Set(should), new Set(is)];
  const few = (texts: readonly string[]) =>
    `${texts.slice(0, shown).join(", ")}${texts.length > shown ? ` and ${texts.length - shown} more` : ""}`;
  const missing = should.filter((text) => !found.has(text));
  const extra = is.filter((text) => !wanted.has(text));
  const parts: string[] = [];
  if (missing.length > 0) parts.push(`lacks ${few(missing)}`);
  if (extra.length > 0) parts.push(`has ${few(extra)} too many`);
  return parts.length > 0 ? parts.join(", ") : "has its rules in another order";
}

/** Rules of each chain in their order, elements of each set sorted, as texts. */
function partsOf({ nftables }: Listing): ReadonlyMap<string, readonly string[]> {
  const parts = new Map<string, string[]>();
  for (const { chain, rule, set, map } of nftables) {
    if (chain) parts.set(`chain ${chain.name}`, parts.get(`chain ${chain.name}`) ?? []);
    if (rule) {
      const key = `chain ${rule.chain}`;
      parts.set(key, [...(parts.get(key) ?? []), JSON.stringify(canonical(rule.expr))]);
    }
    for (const listed of [set, map]) {
      if (listed) parts.set(`set ${listed.name}`, (listed.elem ?? []).map(elementText).sort());
    }
  }
  return parts;
}

/** `10.0.0.1` rather than its JSON where it is that simple. */
function elementText(element: unknown): string {
  const simple = (value: unknown): string | undefined => {
    if (typeof value === "string" || typeof value === "number") return String(value);
    // A map's element is a pair.
    const [list, separator] = Array.isArray(value) ? [value, " : "] : [(value as { concat?: unknown }).concat, " . "];
    if (!Array.isArray(list)) return undefined;
    const parts = list.map(simple);
    return parts.every((part) => part !== undefined) ? parts.join(separator) : undefined;
  };
  return simple(element) ?? JSON.stringify(canonical(element));
}

/** Without handles, members in order of their names, and elements of anonymous sets sorted: the kernel keeps them in none. */
function canonical(value: unknown, ofSet = false): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => canonical(item));
    return ofSet ? items.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) : items;
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== "handle")
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, canonical(member, key === "set" || key === "elem")]),
  );
}
