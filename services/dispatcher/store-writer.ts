import {
  hasStopped,
  isOnNode,
  isTerminal,
  moveLabelOf,
  type Node,
  type NodeDescription,
  NodeStatus,
  NodeStatus_State,
  NodeStatus_State_names,
  sameBut,
  sameValue,
  type Task,
  TaskState,
  TaskStatus,
  taskStateName,
  timestampMs,
  VolumePublishStatus_State,
} from "@starling/api";
import { type Clock, type Logger, metrics } from "@starling/base";
import { all, byNode, type MemoryStore, type WriteTx } from "@starling/store";
import type { LastReport } from "./last-report.ts";

/** A change that agents (or their silence) ask for, merged into the newest objects inside the transaction. */
export type Write =
  | { readonly t: "task-status"; readonly taskId: string; readonly nodeId: string; readonly status: TaskStatus }
  | {
      readonly t: "node-status";
      readonly nodeId: string;
      /** State and message are kept as they are when absent. */
      readonly state?: NodeStatus_State;
      readonly message?: string;
      /** Kept as it is when empty. */
      readonly addr?: string;
      readonly description?: NodeDescription | undefined;
    }
  | { readonly t: "volume-unpublished"; readonly volumeId: string; readonly nodeId: string };

export interface WriterOptions {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** This manager's node id, for TaskStatus.applied_by. */
  readonly ownNodeId: string;
  readonly last: LastReport;
}

const schedulingDelay = metrics.histogram(
  "swarm_dispatcher_scheduling_delay_seconds",
  "Time from a task's creation until it runs.",
);

const sameReport = sameBut(TaskStatus.create(), "appliedBy", "appliedAt");

/** Applies the writes to the store, in order; resolves when committed. What no longer applies is left out. */
export async function applyWrites(options: WriterOptions, writes: readonly Write[]): Promise<void> {
  await options.store.batch(writes, (tx, write) => {
    switch (write.t) {
      case "task-status":
        return applyTaskStatus(tx, write, options);
      case "node-status":
        return applyNodeStatus(tx, write, options);
      case "volume-unpublished":
        return applyUnpublished(tx, write);
    }
  });
}

/**
 * All nodes but those that are down or away become UNKNOWN: a new leader has to hear of them first. Returns how each was
 * found.
 */
export async function markNodesUnknown({
  store,
}: Pick<WriterOptions, "store">): Promise<ReadonlyMap<string, "alive" | "away" | "down">> {
  const found = ({ status }: Node) => {
    if (status.state === NodeStatus_State.DOWN) return "down";
    return status.state === NodeStatus_State.DISCONNECTED ? "away" : "alive";
  };
  const nodes = store.view((tx) => tx.nodes.find(all));
  const message = `Node moved to "unknown" state due to leadership change in cluster`;
  await store.batch(nodes, (tx, { id }) => {
    const node = tx.nodes.get(id);
    if (node === undefined || found(node) !== "alive") return;
    tx.nodes.update({ ...node, status: { ...node.status, state: NodeStatus_State.UNKNOWN, message } });
  });
  return new Map(nodes.map((node) => [node.id, found(node)]));
}

/** Gives up the tasks of a node that is down for long: nobody knows whether they still run. */
export async function orphanTasks({ store }: Pick<WriterOptions, "store">, nodeId: string): Promise<void> {
  const tasks = store.view((tx) => tx.tasks.find(byNode(nodeId)));
  await store.batch(tasks, (tx, { id }) => {
    const task = tx.tasks.get(id);
    if (!task || !isOnNode(task)) return;
    tx.tasks.update({ ...task, status: { ...task.status, state: TaskState.ORPHANED } });
  });
}

function applyTaskStatus(tx: WriteTx, write: Write & { t: "task-status" }, options: WriterOptions): void {
  const task = tx.tasks.get(write.taskId);
  // Removed meanwhile, given to another node, a late report of an earlier state, or one that was sent twice.
  if (task === undefined || task.nodeId !== write.nodeId) return;
  if (isTerminal(task.status.state) && !hasStopped(task)) {
    noteStopped(tx, task, write.status, options);
    return;
  }
  if (task.status.state > write.status.state) return;
  if (task.status.state === write.status.state && sameReport(task.status, write.status)) return;
  const now = options.clock.now();
  // Why a task moved its node does not know: to it that is a task that stops.
  const moved = moveLabelOf(task, "movedTo") !== undefined && write.status.err === "";
  const { message } = moved ? task.status : write.status;
  const status = options.last.applied({ ...write.status, message }, options.ownNodeId, now);
  tx.tasks.update({ ...task, status });
  logTransition(task, write.status, options.log);
  const starts = task.status.state < TaskState.RUNNING && status.state === TaskState.RUNNING;
  if (starts && task.meta.createdAt)
    schedulingDelay.observe(Math.max(0, now - timestampMs(task.meta.createdAt)) / 1000);
}

/** A manager has rejected the task where it ran: that stays what it came to, and the node says when nothing is left of it. */
function noteStopped(tx: WriteTx, task: Task, reported: TaskStatus, { clock, last, ownNodeId }: WriterOptions): void {
  if (!isTerminal(reported.state)) return;
  const status = last.applied({ ...task.status, container: reported.container }, ownNodeId, clock.now());
  tx.tasks.update({ ...task, status });
}

function applyNodeStatus(tx: WriteTx, write: Write & { t: "node-status" }, { log }: WriterOptions): void {
  const node = tx.nodes.get(write.nodeId);
  if (node === undefined) return;
  const status = NodeStatus.create({
    ...node.status,
    ...(write.state !== undefined && { state: write.state }),
    ...(write.message !== undefined && { message: write.message }),
    ...(write.addr && { addr: write.addr }),
  });
  const description = write.description ?? node.description;
  if (sameValue(status, node.status) && sameValue(description, node.description)) return;
  tx.nodes.update({ ...node, status, description });
  if (status.state !== node.status.state) {
    log.info("node state changed", {
      "node.id": node.id,
      state: NodeStatus_State_names[status.state],
      reason: write.message || undefined,
    });
  }
}

function applyUnpublished(tx: WriteTx, { volumeId, nodeId }: Write & { t: "volume-unpublished" }): void {
  const volume = tx.volumes.get(volumeId);
  if (volume === undefined) return;
  const publishStatus = volume.publishStatus.map((status) =>
    status.nodeId === nodeId ? { ...status, state: VolumePublishStatus_State.PENDING_UNPUBLISH } : status,
  );
  tx.volumes.update({ ...volume, publishStatus });
}

function logTransition(task: Task, status: TaskStatus, log: Logger): void {
  if (task.status.state === status.state) return;
  log.debug("task state changed", {
    "task.id": task.id,
    "node.id": task.nodeId,
    "service.id": task.serviceId,
    "state.transition": `${taskStateName(task.status.state)}->${taskStateName(status.state)}`,
    error: status.err || undefined,
  });
}
