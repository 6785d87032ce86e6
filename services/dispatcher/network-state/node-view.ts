/** Pure: no clock, no I/O, no randomness. */
import { type NetworkStateChange, NetworkStateChange_Action, sameValue } from "@starling/api";
import type { ClusterState, Item, ItemKey } from "./cluster-state.ts";

/** What one node was told, and what it must be told next. */
export class NodeView {
  readonly nodeId: string;
  readonly #state: ClusterState;
  readonly #isDrained: (key: ItemKey) => boolean;
  readonly #told = new Map<ItemKey, Item>();
  #networks: ReadonlySet<string> = new Set();

  /** `isDrained` tells whether no node sends new connections to an endpoint that stops. */
  constructor(state: ClusterState, nodeId: string, isDrained: (key: ItemKey) => boolean) {
    this.#state = state;
    this.nodeId = nodeId;
    this.#isDrained = isDrained;
  }

  /** Whether the node may send new connections to the endpoint, by what it was told. */
  sendsTo(key: ItemKey): boolean {
    return this.#told.get(key)?.endpoint?.serving === true;
  }

  /** Whether the endpoint's network concerns the node. */
  sees(networkId: string): boolean {
    return this.#networks.has(networkId);
  }

  /** Everything, for the first message. */
  complete(): readonly NetworkStateChange[] {
    return this.changes(new Set(this.#state.commonKeys));
  }

  /** What differs from what was told, given the keys that may. A network that the node came to or left brings all of it. */
  changes(keys: ReadonlySet<ItemKey>): readonly NetworkStateChange[] {
    const before = this.#networks;
    this.#networks = this.#state.networksOf(this.nodeId);
    const affected = new Set(keys);
    for (const id of new Set([...before, ...this.#networks])) {
      if (before.has(id) && this.#networks.has(id)) continue;
      for (const key of this.#state.keysOfNetwork(id)) affected.add(key);
    }
    const changes: NetworkStateChange[] = [];
    for (const key of affected) {
      const old = this.#told.get(key);
      const item = this.#item(key);
      if (item === undefined) {
        if (old === undefined) continue;
        this.#told.delete(key);
        changes.push({ ...old, action: NetworkStateChange_Action.REMOVE });
      } else if (old === undefined || !sameValue(old, item)) {
        this.#told.set(key, item);
        changes.push(item);
      }
    }
    return changes;
  }

  /** The task's own node also hears when its endpoint is drained. */
  #item(key: ItemKey): Item | undefined {
    const item = this.#state.item(key, this.#networks);
    if (item?.endpoint?.nodeId !== this.nodeId || !this.#state.isStopping(key) || !this.#isDrained(key)) return item;
    return { ...item, endpoint: { ...item.endpoint, drained: true } };
  }
}
