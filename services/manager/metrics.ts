import {
  NodeStatus_State,
  NodeStatus_State_names,
  type Service,
  type Task,
  TaskState,
  taskStateName,
} from "@starling/api";
import type { Metrics } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";

const states = Object.values(TaskState);

/** Brings the gauges of the store's content up to date; called for each scrape. Names as SwarmKit's where it has them. */
export function collectStoreMetrics(metrics: Metrics, store: MemoryStore, isLeader: boolean): void {
  store.view((tx) => {
    const total = (what: string) =>
      metrics.gauge(`swarm_manager_${what}_total`, `The number of ${what} in the cluster.`);
    total("configs").set(tx.configs.find(all).length);
    total("networks").set(tx.networks.find(all).length);
    total("secrets").set(tx.secrets.find(all).length);
    const services = tx.services.find(all);
    total("services").set(services.length);
    const tasks = tx.tasks.find(all);
    const byState = metrics.gauge("swarm_manager_tasks_total", "The number of tasks in the cluster by state.", [
      "state",
    ]);
    const counts = new Map<number, number>(states.map((state) => [state, 0]));
    for (const task of tasks) counts.set(task.status.state, (counts.get(task.status.state) ?? 0) + 1);
    for (const [state, count] of counts) byState.set({ state: taskStateName(state).toLowerCase() }, count);
    const nodes = metrics.gauge("swarm_manager_nodes", "The number of nodes by state.", ["state"]);
    const nodeCounts = new Map<number, number>(Object.values(NodeStatus_State).map((state) => [state, 0]));
    for (const node of tx.nodes.find(all)) {
      nodeCounts.set(node.status.state, (nodeCounts.get(node.status.state) ?? 0) + 1);
    }
    for (const [state, count] of nodeCounts) {
      nodes.set({ state: (NodeStatus_State_names[state] ?? String(state)).toLowerCase() }, count);
    }
    metrics.gauge("swarm_manager_leader", "Whether this manager leads the cluster.").set(isLeader ? 1 : 0);
    setReplicas(metrics, services, tasks, tx.nodes.find(all).length);
  });
}

/** Desired and running replicas per service: what an alert compares. */
function setReplicas(metrics: Metrics, services: readonly Service[], tasks: readonly Task[], nodeCount: number): void {
  const labels = ["service_id", "service_name"] as const;
  const desired = metrics.gauge("starling_service_replicas_desired", "Replicas that the service asks for.", labels);
  const running = metrics.gauge("starling_service_replicas_running", "Tasks of the service in state RUNNING.", labels);
  desired.reset();
  running.reset();
  const runningBy = new Map<string, number>();
  for (const task of tasks) {
    if (task.status.state !== TaskState.RUNNING || task.desiredState > TaskState.RUNNING) continue;
    runningBy.set(task.serviceId, (runningBy.get(task.serviceId) ?? 0) + 1);
  }
  for (const service of services) {
    const of = { service_id: service.id, service_name: service.spec.annotations.name };
    const wanted = service.spec.replicated?.replicas ?? (service.spec.global ? nodeCount : undefined);
    if (wanted !== undefined) desired.set(of, wanted);
    running.set(of, runningBy.get(service.id) ?? 0);
  }
}
