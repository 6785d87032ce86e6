import { durationMs, type NodePatience, nodePatience } from "@starling/api";
import type { Millis } from "@starling/base";
import type { MemoryStore, ReadTx } from "@starling/store";
import { periodOf } from "./heartbeat.ts";

/** Used until there is a cluster object, or when it names no period. */
const defaultPeriodMs = 1_000;

/**
 * The heartbeat period, and how long each node is waited for, by what the store says now. Each beat asks, mostly while no node and no
 * cluster has changed: then it is as it was, and tables of the store that have not changed are the same objects.
 */
export class Patiences {
  readonly #store: MemoryStore;
  readonly #clusterId: string;
  #clusters: ReadTx["clusters"] | undefined;
  #nodes: ReadTx["nodes"] | undefined;
  #clusterLabels: Readonly<Record<string, string>> = {};
  #periodMs: Millis = defaultPeriodMs;
  /** What has been worked out of these tables, by node id. */
  readonly #known = new Map<string, NodePatience>();
  /** Of nodes without labels of their own: most. */
  #usual: NodePatience = nodePatience({}, {}, defaultPeriodMs);

  constructor(store: MemoryStore, clusterId: string) {
    this.#store = store;
    this.#clusterId = clusterId;
  }

  /** Of all nodes, before each one's is spread. */
  periodMs(): Millis {
    this.#look();
    return this.#periodMs;
  }

  of(nodeId: string): NodePatience {
    const nodes = this.#look();
    let patience = this.#known.get(nodeId);
    if (patience === undefined) {
      const labels = nodes.get(nodeId)?.spec.annotations.labels ?? {};
      patience = isEmpty(labels) ? this.#usual : nodePatience(this.#clusterLabels, labels, this.#periodMs);
      this.#known.set(nodeId, patience);
    }
    return patience;
  }

  #look(): ReadTx["nodes"] {
    const { clusters, nodes } = this.#store.view((tx) => tx);
    if (clusters === this.#clusters && nodes === this.#nodes) return nodes;
    this.#clusters = clusters;
    this.#nodes = nodes;
    this.#known.clear();
    const spec = clusters.get(this.#clusterId)?.spec;
    this.#clusterLabels = spec?.annotations.labels ?? {};
    this.#periodMs = periodOf(durationMs(spec?.dispatcher.heartbeatPeriod) || defaultPeriodMs, nodes.size);
    this.#usual = nodePatience(this.#clusterLabels, {}, this.#periodMs);
    return nodes;
  }
}

function isEmpty(labels: object): boolean {
  for (const _ in labels) return false;
  return true;
}
