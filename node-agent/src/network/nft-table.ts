/** Pure: no clock, no I/O, no randomness. */

/** A set, or (with `value`) a map. Elements are texts as nft prints them; of a set, the values are empty. */
export interface NftSet {
  readonly name: string;
  /** `ipv4_addr . inet_proto`; or the expressions that have the types, as in `typeof ip daddr . numgen random mod 8`. */
  readonly type: string;
  readonly value?: string;
  readonly elements: ReadonlyMap<string, string>;
}

export interface NftChain {
  readonly name: string;
  /** `type nat hook output priority -100`; a chain without is jumped to. */
  readonly hook?: string;
  readonly rules: readonly string[];
}

/** A table as we want it: all that is in it. */
export interface NftTable {
  /** `inet starling`. */
  readonly name: string;
  readonly sets: readonly NftSet[];
  readonly chains: readonly NftChain[];
}

/**
 * Script for `nft -f` that turns `previous` into `next`, all at once; empty when they are equal. Without `previous` (what
 * is there is not known) the table is made anew: connections that it has translated live on.
 */
export function planTable(previous: NftTable | undefined, next: NftTable): string {
  if (previous === undefined || shape(previous) !== shape(next)) return renderTable(next);
  const { name } = next;
  const before = new Map(previous.chains.map((chain) => [chain.name, chain]));
  const lines: string[] = [];
  for (const chain of next.chains) if (!before.has(chain.name)) lines.push(`add chain ${name} ${chain.name}`);
  for (const chain of next.chains) {
    const old = before.get(chain.name);
    before.delete(chain.name);
    if (old !== undefined && equal(old.rules, chain.rules)) continue;
    if (old !== undefined && old.rules.length > 0) lines.push(`flush chain ${name} ${chain.name}`);
    for (const rule of chain.rules) lines.push(`add rule ${name} ${chain.name} ${rule}`);
  }
  next.sets.forEach((set, position) => {
    lines.push(...compareElements(name, previous.sets[position]!, set));
  });
  // One may lead to another.
  for (const gone of before.values()) lines.push(`flush chain ${name} ${gone.name}`);
  for (const gone of before.values()) lines.push(`delete chain ${name} ${gone.name}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** What can't change by elements and rules: sets, their types, and the chains with a hook. */
function shape(table: NftTable): string {
  const hooked = table.chains.filter((chain) => chain.hook !== undefined);
  return JSON.stringify([
    table.name,
    table.sets.map((set) => [set.name, set.type, set.value]),
    hooked.map((chain) => [chain.name, chain.hook]),
  ]);
}

const equal = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((rule, position) => rule === b[position]);

function compareElements(table: string, previous: NftSet, next: NftSet): readonly string[] {
  const gone = [...previous.elements].filter(([key, value]) => next.elements.get(key) !== value);
  const come = [...next.elements].filter(([key, value]) => previous.elements.get(key) !== value);
  const lines: string[] = [];
  if (gone.length > 0) lines.push(`delete element ${table} ${next.name} { ${gone.map(([key]) => key).join(", ")} }`);
  if (come.length > 0) lines.push(`add element ${table} ${next.name} { ${come.map(element).join(", ")} }`);
  return lines;
}

const element = ([key, value]: readonly [string, string]): string => (value === "" ? key : `${key} : ${value}`);

const typeOf = ({ type }: NftSet): string => (type.startsWith("typeof ") ? type : `type ${type}`);

/** Replaces whatever the table holds. Chains stand before maps of verdicts need them, elements come last. */
function renderTable(table: NftTable): string {
  const lines = [`add table ${table.name}`, `delete table ${table.name}`, `table ${table.name} {`];
  for (const set of table.sets) {
    lines.push(
      set.value === undefined
        ? `  set ${set.name} { ${typeOf(set)}; }`
        : `  map ${set.name} { ${typeOf(set)} : ${set.value}; }`,
    );
  }
  const plainFirst = [...table.chains].sort((a, b) => Number(a.hook !== undefined) - Number(b.hook !== undefined));
  for (const chain of plainFirst) {
    lines.push(`  chain ${chain.name} {`);
    if (chain.hook !== undefined) lines.push(`    ${chain.hook};`);
    lines.push(...chain.rules.map((rule) => `    ${rule}`), "  }");
  }
  lines.push("}");
  for (const set of table.sets) {
    if (set.elements.size > 0) {
      lines.push(`add element ${table.name} ${set.name} { ${[...set.elements].map(element).join(", ")} }`);
    }
  }
  return lines.map((line) => `${line}\n`).join("");
}
