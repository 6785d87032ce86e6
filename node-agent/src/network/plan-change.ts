/** Pure: no clock, no I/O, no randomness. */
import { type HostLink, type HostNetwork, unpair } from "./host-network.ts";
import { type HostKind, hostKinds, hostNetworkOf, type Items, type Ledger, type RuleKind } from "./ledger.ts";
import type { Mesh } from "./names.ts";
import { type HostRules, hostTable, meshTable } from "./nft-host.ts";
import { planTable } from "./nft-table.ts";
import { type HostPlan, planHost } from "./plan-host.ts";

/*
 * The same plans as of everything, for what changed alone: parts before are compared with parts after. What a plan says counts as
 * done; whoever fails to do it compares everything the next time.
 */

/** Of the host's network. `there`: devices that the kernel has. Undefined: everything is to be compared. */
export function planChange(ledger: Ledger, there: HostNetwork["links"]): HostPlan | undefined {
  const { before, after } = ledger.take(hostKinds);
  const { links } = ledger.all(["links"]);
  const plan = planHost(
    { ...hostNetworkOf(after), links },
    { ...hostNetworkOf(entriesOn(there, before)), links: there },
  );
  // A device that is made again lacks entries that did not change.
  const isNew = (name: string) => after.links.has(name) && !before.links.has(name);
  return plan.createLinks.every(isNew) ? plan : undefined;
}

/** Of the host's network as a whole, which `observed` shows. */
export const planAll = (ledger: Ledger, observed: HostNetwork): HostPlan =>
  planHost(hostNetworkOf(ledger.all(hostKinds)), observed);

/** Without what hangs on devices. */
export const devicesAlone = ({ links }: HostNetwork): HostNetwork => ({
  ...{ links, addresses: new Set(), routes: new Map() },
  ...{ neighbours: new Map(), forwarding: new Map(), returnTables: new Set() },
});

/** Those of entries that the kernel has: it drops them with their device. */
function entriesOn(there: ReadonlyMap<string, HostLink>, items: Items<HostKind>): Items<HostKind> {
  const byDevice = <V>(entries: ReadonlyMap<string, V>) =>
    new Map([...entries].filter(([key]) => there.has(unpair(key)[0])));
  const routes = [...items.routes].filter(([, { device }]) => device === undefined || there.has(device));
  const { addresses, neighbours, forwarding } = items;
  return {
    ...items,
    addresses: byDevice(addresses),
    routes: new Map(routes),
    neighbours: byDevice(neighbours),
    forwarding: byDevice(forwarding),
  };
}

/** Of the host's tables: a script for nft. `loaded`: what is loaded, but for the change; undefined: it is not known. */
export function planRules(
  { loaded, loadedMeshes }: { readonly loaded: HostRules | undefined; readonly loadedMeshes: ReadonlySet<Mesh> },
  wanted: {
    readonly all: HostRules;
    /** Those whose devices exist. */
    readonly meshes: readonly Mesh[];
    readonly changes: { readonly before: Items<RuleKind>; readonly after: Items<RuleKind> };
  },
): string {
  const { all, meshes, changes } = wanted;
  const hostScript =
    loaded === undefined
      ? planTable(undefined, hostTable(all))
      : planTable(hostTable({ ...loaded, items: changes.before }), hostTable({ ...all, items: changes.after }));
  const meshScripts = meshes.map((mesh) =>
    loaded !== undefined && loadedMeshes.has(mesh)
      ? planTable(meshTable(mesh, changes.before.meshPeers.keys()), meshTable(mesh, changes.after.meshPeers.keys()))
      : planTable(undefined, meshTable(mesh, all.items.meshPeers.keys())),
  );
  return hostScript + meshScripts.join("");
}
