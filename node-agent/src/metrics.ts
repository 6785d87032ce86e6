import { type Task, TaskState, taskStateName } from "@starling/api";
import type { Metrics } from "@starling/base";

const labels = ["state"] as const;

/** Brings the gauges of this node's tasks up to date; called for each scrape. */
export function collectTaskMetrics(metrics: Metrics, tasks: readonly Task[]): void {
  const gauge = metrics.gauge("starling_node_tasks", "Tasks of this node by state.", labels);
  const counts = new Map<number, number>(Object.values(TaskState).map((state) => [state, 0]));
  for (const { status } of tasks) counts.set(status.state, (counts.get(status.state) ?? 0) + 1);
  for (const [state, count] of counts) gauge.set({ state: taskStateName(state).toLowerCase() }, count);
  metrics
    .gauge("starling_node_containers", "Containers that run on this node.")
    .set(counts.get(TaskState.RUNNING) ?? 0);
}
