/** Wakes those who serve a node's streams when something of that node changed. One per run of the dispatcher. */
export class NodeFeed {
  readonly #listeners = new Map<string, Set<NodeListener>>();

  /** Calls `listener` for changes of this node until the returned function is called. */
  subscribe(nodeId: string, listener: NodeListener): () => void {
    const listeners = this.#listeners.get(nodeId) ?? new Set();
    this.#listeners.set(nodeId, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(nodeId) === listeners) this.#listeners.delete(nodeId);
    };
  }

  tell(nodeId: string, change: NodeChange): void {
    for (const listener of [...(this.#listeners.get(nodeId) ?? [])]) listener(change);
  }

  /** Something that all nodes are told of changed: managers, root certificate, keys. */
  tellAll(change: NodeChange): void {
    for (const nodeId of [...this.#listeners.keys()]) this.tell(nodeId, change);
  }
}

export type NodeListener = (change: NodeChange) => void;

/**
 * - task: created, changed or removed; quiet: nobody needs to know before something else of the node changes
 * - session: the node object or what sessions are told of the cluster changed
 * - ended: the session may have ended; look again
 */
export type NodeChange =
  | { readonly t: "task"; readonly taskId: string; readonly quiet: boolean }
  | { readonly t: "session" }
  | { readonly t: "ended" };
