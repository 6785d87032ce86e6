import { freshNetns, rtnetlink, runSteps } from "@starling/native/net";
import { meshes } from "./names.ts";
import { compareListings, type Difference, type Listing } from "./nft-listing.ts";
import { type NftTable, planTable } from "./nft-table.ts";

/** What a table looks like in the kernel, by listing one just made of it in a namespace of its own. */
const expected = new WeakMap<NftTable, Promise<Listing>>();

/** How the tables in a namespace differ from what they should be, rule by rule and element by element. */
export async function auditTables(
  netns: string | undefined,
  tables: readonly NftTable[],
): Promise<ReadonlyMap<NftTable, readonly Difference[]>> {
  const found = new Map<NftTable, readonly Difference[]>();
  for (const table of tables) {
    const [listing] = await runSteps(netns, [listStep(table)]);
    if (!listing.ok) {
      found.set(table, [{ detail: `table ${table.name} is missing` }]);
      continue;
    }
    const differences = compareListings(await expectedListing(table), JSON.parse(listing.output) as Listing);
    const named = differences.map(({ detail }) => ({ detail: `table ${table.name}: ${detail}` }));
    if (named.length > 0) found.set(table, named);
  }
  return found;
}

const listStep = (table: NftTable) => ({ type: "nft", script: `list table ${table.name}`, json: true }) as const;

function expectedListing(table: NftTable): Promise<Listing> {
  const known = expected.get(table);
  if (known !== undefined) return known;
  const made = makeListing(table);
  expected.set(table, made);
  made.catch(() => expected.delete(table));
  return made;
}

async function makeListing(table: NftTable): Promise<Listing> {
  const requests = meshes.map(({ device }) => rtnetlink.createDummy({ name: device }));
  const [, loaded, listing] = await runSteps(freshNetns, [
    { type: "netlink", protocol: rtnetlink.routeProtocol, requests },
    { type: "nft", script: planTable(undefined, table) },
    listStep(table),
  ]);
  if (!loaded.ok || !listing.ok) throw new Error(`nftables refused: ${loaded.error || listing.error}`);
  return JSON.parse(listing.output) as Listing;
}
