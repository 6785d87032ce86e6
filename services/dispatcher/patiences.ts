import { type Cluster, durationMs, type NodePatience, nodePatience } from "@starling/api";
import type { Millis } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { periodOf } from "./heartbeat.ts";

/** Used until there is a cluster object, or when it names no period. */
const defaultPeriodMs = 1_000;

type Labels = Readonly<Record<string, string>>;

/**
 * The heartbeat period, and how long each node is waited for, by what the store says now. Each beat asks: most nodes are as all
 * are, and that is worked out when the cluster's object or the number of nodes is another (objects of the store never change).
 */
export class Patiences {
  readonly #store: MemoryStore;
  readonly #clusterId: string;
  #cluster: Cluster | undefined;
  #nodes = -1;
  #periodMs: Millis = defaultPeriodMs;
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
    const labels = this.#look(nodeId);
    for (const _ in labels) return nodePatience(this.#clusterLabels, labels, this.#periodMs);
    return this.#usual;
  }

  /** Takes in what all have; returns the node's own labels. */
  #look(nodeId?: string): Labels | undefined {
    return this.#store.view((tx) => {
      const cluster = tx.clusters.get(this.#clusterId);
      const { size } = tx.nodes;
      if (cluster !== this.#cluster || size !== this.#nodes) {
        this.#cluster = cluster;
        this.#nodes = size;
        const wanted = durationMs(cluster?.spec.dispatcher.heartbeatPeriod) || defaultPeriodMs;
        this.#periodMs = periodOf(wanted, size);
        this.#usual = nodePatience(this.#clusterLabels, {}, this.#periodMs);
      }
      return nodeId === undefined ? undefined : tx.nodes.get(nodeId)?.spec.annotations.labels;
    });
  }

  get #clusterLabels(): Labels {
    return this.#cluster?.spec.annotations.labels ?? {};
  }
}
