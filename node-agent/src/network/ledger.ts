/** Pure: no clock, no I/O, no randomness. */
import { Claims } from "./claims.ts";
import type { HostLink, HostNetwork, HostRoute } from "./host-network.ts";
import type { OpenPort, PublishedPort, Spread } from "./nft-host.ts";

/** What a host's network and rules are made of; keys are said at `HostNetwork` and, of the rules' sets, what elements are about. */
export interface Kinds {
  readonly links: HostLink;
  readonly addresses: true;
  readonly routes: HostRoute;
  readonly neighbours: string;
  readonly forwarding: string;
  readonly returnTables: true;

  /** Device of the task here that has a MAC on an overlay network, by the network's VXLAN device and it. */
  readonly ports: string;

  /** This node's address in the mesh. */
  readonly meshSelf: true;
  /** Node's address in the mesh, by that of the task there. */
  readonly farTasks: string;
  /** Device of the task here that the mesh reaches, by its address. */
  readonly nearTasks: string;
  /** Node's address in the mesh, by the mark of connections that came in by it. */
  readonly entryNodes: string;

  /** By `protocol/port`. */
  readonly published: PublishedPort;
  /** By name. */
  readonly spreads: Spread;
  /** Device and address of tasks here, by both. */
  readonly own: { readonly device: string; readonly address: string };
  /** By address. */
  readonly local: true;
  readonly open: OpenPort;
  readonly live: true;
  readonly secret: true;
  /** An address of a node's host and that of a published task on it, by both. */
  readonly taskOfNode: readonly [node: string, task: string];
  /** By address. */
  readonly underlays: true;
  /** By address in the mesh with prefix length. */
  readonly meshPeers: true;
}

export const hostKinds = ["links", "addresses", "routes", "neighbours", "forwarding", "returnTables"] as const;
export const ruleKinds = [
  ...["published", "spreads", "own", "local", "open", "live", "secret", "taskOfNode", "underlays", "meshPeers"],
] as const as readonly RuleKind[];
export const shortcutKinds = ["ports", "meshSelf", "farTasks", "nearTasks", "entryNodes"] as const;
export type HostKind = (typeof hostKinds)[number];
export type RuleKind = Exclude<keyof Kinds, HostKind | (typeof shortcutKinds)[number]>;

/** Whether things of the kind hang on devices. */
export const isEntry = (kind: keyof Kinds): boolean => kind !== "links" && hostKinds.some((one) => one === kind);

/** Takes what a source has to say. */
export type Put = <K extends keyof Kinds>(kind: K, key: string, value: Kinds[K]) => void;

/** Values of kinds by key: all of them, or those that changed as they were or are. */
export type Items<K extends keyof Kinds> = { readonly [Kind in K]: ReadonlyMap<string, Kinds[Kind]> };

const json = <V extends NonNullable<unknown>>() => new Claims<V>((value) => JSON.stringify(value));
const plain = <V extends string | true>() => new Claims<V>(String);

/** Claims of all kinds. */
export class Ledger {
  readonly #claims: { readonly [K in keyof Kinds]: Claims<Kinds[K]> } = {
    links: json(),
    addresses: plain(),
    routes: new Claims(({ device = "", gateway = "" }) => `${device} ${gateway}`),
    neighbours: plain(),
    forwarding: plain(),
    returnTables: plain(),
    ports: plain(),
    meshSelf: plain(),
    farTasks: plain(),
    nearTasks: plain(),
    entryNodes: plain(),
    // A service's port comes before one that a task publishes on this host alone.
    published: new Claims((port) => `${port.ofHost ? 0 : 1} ${JSON.stringify(port)}`),
    spreads: json(),
    own: new Claims(() => ""),
    local: plain(),
    open: new Claims(({ secret }) => String(secret)),
    live: plain(),
    secret: plain(),
    taskOfNode: new Claims(() => ""),
    underlays: plain(),
    meshPeers: plain(),
  };

  readonly claim: Put = (kind, key, value) => this.#claims[kind].claim(key, value);
  readonly withdraw: Put = (kind, key, value) => this.#claims[kind].withdraw(key, value);

  clear(): void {
    for (const claims of Object.values(this.#claims)) claims.clear();
  }

  all<K extends keyof Kinds>(kinds: readonly K[]): Items<K> {
    return Object.fromEntries(kinds.map((kind) => [kind, this.#claims[kind].values])) as unknown as Items<K>;
  }

  /** What changed since it was taken last. */
  take<K extends keyof Kinds>(kinds: readonly K[]): { readonly before: Items<K>; readonly after: Items<K> } {
    const changes = kinds.map((kind) => [kind, this.#claims[kind].take()] as const);
    const part = (which: "before" | "after") =>
      Object.fromEntries(changes.map(([kind, change]) => [kind, change[which]])) as unknown as Items<K>;
    return { before: part("before"), after: part("after") };
  }

  /** See `Claims.giveBack`. */
  giveBack(kind: keyof Kinds, key: string): void {
    this.#claims[kind].giveBack(key);
  }
}

export const hostNetworkOf = (items: Items<HostKind>): HostNetwork => ({
  ...items,
  addresses: new Set(items.addresses.keys()),
  returnTables: new Set(items.returnTables.keys()),
});
