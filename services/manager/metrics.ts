import { NodeStatus_State, NodeStatus_State_names, TaskState, taskStateName } from "@starling/api";
import { type Metrics, SwarmError } from "@starling/base";
import { all, type MemoryStore, type ReadTx } from "@starling/store";
import { StoreCounts } from "./store-counts.ts";

/** The gauges of a store's content, under SwarmKit's names where it has them. */
export class StoreGauges {
  readonly #store: MemoryStore;
  #counts = new StoreCounts();

  constructor(store: MemoryStore) {
    this.#store = store;
  }

  /** Counts until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#follow(signal);
      } catch (thrown) {
        // A snapshot brought more changes than a watcher may lag behind: count anew.
        if (SwarmError.from(thrown).code !== "ResourceExhausted") throw thrown;
      }
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { value, events } = this.#store.viewAndWatch(StoreCounts.of, { kinds: ["task", "node"], signal });
    this.#counts = value;
    for await (const batch of events.batches()) for (const event of batch) value.count(event);
  }

  /** Brings the gauges up to date; called for each scrape. */
  collect(metrics: Metrics, isLeader: boolean): void {
    this.#store.view((tx) => {
      setTotals(metrics, tx);
      this.#setStates(metrics);
      this.#setReplicas(metrics, tx);
    });
    metrics.gauge("swarm_manager_leader", "Whether this manager leads the cluster.").set(isLeader ? 1 : 0);
  }

  #setStates(metrics: Metrics): void {
    const counts = this.#counts;
    const tasks = metrics.gauge("swarm_manager_tasks_total", "The number of tasks in the cluster by state.", ["state"]);
    for (const state of new Set([...Object.values(TaskState), ...counts.taskStates])) {
      tasks.set({ state: taskStateName(state).toLowerCase() }, counts.tasksIn(state));
    }
    const nodes = metrics.gauge("swarm_manager_nodes", "The number of nodes by state.", ["state"]);
    for (const state of new Set<number>([...Object.values(NodeStatus_State), ...counts.nodeStates])) {
      nodes.set({ state: (NodeStatus_State_names[state] ?? String(state)).toLowerCase() }, counts.nodesIn(state));
    }
  }

  /** Desired and running replicas per service: what an alert compares. */
  #setReplicas(metrics: Metrics, tx: ReadTx): void {
    const labels = ["service_id", "service_name"] as const;
    const desired = metrics.gauge("starling_service_replicas_desired", "Replicas that the service asks for.", labels);
    const running = metrics.gauge(
      "starling_service_replicas_running",
      "Tasks of the service in state RUNNING.",
      labels,
    );
    desired.reset();
    running.reset();
    for (const { id, spec } of tx.services.find(all)) {
      const of = { service_id: id, service_name: spec.annotations.name };
      const wanted = spec.replicated?.replicas ?? (spec.global ? tx.nodes.size : undefined);
      if (wanted !== undefined) desired.set(of, wanted);
      running.set(of, this.#counts.runningOf(id));
    }
  }
}

function setTotals(metrics: Metrics, tx: ReadTx): void {
  for (const what of ["configs", "networks", "secrets", "services"] as const) {
    metrics.gauge(`swarm_manager_${what}_total`, `The number of ${what} in the cluster.`).set(tx[what].size);
  }
}
