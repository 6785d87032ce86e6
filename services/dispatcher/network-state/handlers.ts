import { type NetworkState, NetworkStateMessage, NetworkStateMessage_Type } from "@starling/api";
import type { CallContext, Handlers } from "@starling/api/rpc";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";
import { ClusterState, type ItemKey } from "./cluster-state.ts";
import { NodeView } from "./node-view.ts";

export interface NetworkStateOptions {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * Serves `starling.v1.NetworkState` from the store's committed state. All streams share one reader of the store, which
 * runs while there is a stream. A slow node holds up nobody: what it has missed is a set of keys, looked up when it is
 * ready for more.
 */
export function createNetworkStateHandlers(options: NetworkStateOptions): Handlers<typeof NetworkState> {
  let shared: Shared | undefined;
  return {
    watch: (_request, context) => {
      if (context.caller.nodeId === "")
        throw new SwarmError("InvalidArgument", "the caller has no node id: call with a node's certificate");
      if (shared === undefined || shared.ended) shared = new Shared(options);
      return shared.stream(context.caller.nodeId, context);
    },
  };
}

interface Stream {
  readonly changed: Set<ItemKey>;
  wake: () => void;
}

/** The one reader of the store and its streams. Ends with its last stream, or when the store's watch ends. */
class Shared {
  readonly #state = new ClusterState();
  readonly #streams = new Set<Stream>();
  readonly #stop = new AbortController();
  readonly #log: Logger;
  ended = false;

  constructor({ store, log }: NetworkStateOptions) {
    this.#log = log;
    const { events } = store.viewAndWatch(
      (tx) => {
        const ignored = new Set<ItemKey>();
        for (const object of tx.networks.find(all))
          this.#state.note({ kind: "network", action: "create", object }, ignored);
        for (const object of tx.nodes.find(all)) this.#state.note({ kind: "node", action: "create", object }, ignored);
        for (const object of tx.services.find(all))
          this.#state.note({ kind: "service", action: "create", object }, ignored);
        for (const object of tx.tasks.find(all)) this.#state.note({ kind: "task", action: "create", object }, ignored);
      },
      { kinds: ["network", "node", "service", "task", "commit"], signal: this.#stop.signal },
    );
    void this.#read(events);
  }

  async *stream(nodeId: string, { signal }: CallContext): AsyncGenerator<NetworkStateMessage> {
    const stream: Stream = { changed: new Set(), wake: () => {} };
    const onAbort = () => stream.wake();
    this.#streams.add(stream);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const view = new NodeView(this.#state, nodeId);
      let sequence = 1;
      yield NetworkStateMessage.create({ type: NetworkStateMessage_Type.COMPLETE, sequence, changes: view.complete() });
      while (!signal.aborted) {
        if (this.ended) throw new SwarmError("Unavailable", "the store cannot be followed any longer: watch again");
        if (stream.changed.size === 0) {
          await new Promise<void>((resolve) => {
            stream.wake = resolve;
          });
          continue;
        }
        const changes = view.changes(stream.changed);
        stream.changed.clear();
        if (changes.length === 0) continue;
        sequence++;
        yield NetworkStateMessage.create({ type: NetworkStateMessage_Type.INCREMENTAL, sequence, changes });
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#streams.delete(stream);
      if (this.#streams.size === 0) this.#end();
    }
  }

  async #read(events: AsyncIterable<Parameters<ClusterState["note"]>[0] | { readonly kind: "commit" }>): Promise<void> {
    const changed = new Set<ItemKey>();
    try {
      for await (const event of events) {
        if (event.kind !== "commit") {
          this.#state.note(event, changed);
          continue;
        }
        if (changed.size === 0) continue;
        for (const stream of this.#streams) {
          for (const key of changed) stream.changed.add(key);
          stream.wake();
        }
        changed.clear();
      }
    } catch (error) {
      this.#log.warn("network state lost the store", { error: SwarmError.from(error) });
    }
    this.#end();
  }

  #end(): void {
    this.ended = true;
    this.#stop.abort();
    for (const stream of this.#streams) stream.wake();
  }
}
