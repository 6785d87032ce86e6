import {
  enforcedMessage,
  type Node,
  NodeSpec_Availability,
  NodeStatus_State,
  nodeMatches,
  parseConstraints,
  type Task,
  TaskState,
  TaskStatus,
  timestampOfMs,
} from "@starling/api";
import { type Clock, type Logger, Pacer, SwarmError } from "@starling/base";
import { all, byNode, type MemoryStore, type StoreEvent } from "@starling/store";
import { outgrown } from "./outgrown.ts";

/**
 * When a node changes, rejects the tasks on it that it can no longer hold: constraints of the service's current spec, or
 * reservations beyond what it now has. The orchestrator then places them elsewhere, and they keep what they hold of the node
 * until it says that they have stopped.
 */
export function createConstraintEnforcer(options: {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
}): { run(signal: AbortSignal): Promise<void> } {
  const { store, clock } = options;
  const log = options.log.with({ station: "constraint-enforcer" });
  const pacer = new Pacer(clock);
  return {
    async run(signal) {
      const { value: nodes, events } = store.viewAndWatch((tx) => tx.nodes.find(all), { kinds: ["node"], signal });
      for (const node of nodes) {
        await enforce(node);
        if (pacer.due) await pacer.turn();
      }
      for await (const event of events as AsyncIterable<StoreEvent>) {
        if (event.kind !== "node" || event.action !== "update") continue;
        const { object: node, old } = event;
        const same = old && old.spec === node.spec && old.description === node.description && old.role === node.role;
        if (!same) await enforce(node);
        if (pacer.due) await pacer.turn();
      }
    },
  };

  async function enforce(node: Node): Promise<void> {
    // Drained and lost nodes are the orchestrator's; what runs on a paused one is left alone.
    if (node.spec.availability !== NodeSpec_Availability.ACTIVE || node.status.state === NodeStatus_State.DOWN) return;
    const misfits = store.view((tx) => {
      const tasks = tx.tasks.find(byNode(node.id)).filter((task) => isActive(task));
      const matches = (task: Task) => {
        const spec = tx.services.get(task.serviceId)?.spec.task ?? task.spec;
        return nodeMatches(parseConstraints(spec.placement?.constraints ?? []), node);
      };
      // What goes for its constraints leaves its room to those that stay.
      const { matching = [], mismatched = [] } = Object.groupBy(tasks, (each) =>
        matches(each) ? "matching" : "mismatched",
      );
      return [...mismatched, ...outgrown(node, matching)];
    });
    if (misfits.length === 0) return;
    log.info("tasks no longer fit their node", { "node.id": node.id, tasks: misfits.length });
    try {
      await store.batch(misfits, (tx, { id }) => {
        const task = tx.tasks.get(id);
        if (task && isActive(task)) tx.tasks.update({ ...task, status: rejected(task) });
      });
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (error.code === "Internal") throw error;
      log.warn("tasks not rejected", { "node.id": node.id, error: error.message });
    }
  }

  function rejected(task: Task): TaskStatus {
    return TaskStatus.create({
      ...task.status,
      state: TaskState.REJECTED,
      timestamp: timestampOfMs(clock.now()),
      message: enforcedMessage,
      err: "assigned node no longer meets constraints",
      appliedBy: "",
      appliedAt: undefined,
    });
  }
}

function isActive(task: Task): boolean {
  const { state } = task.status;
  return state >= TaskState.ASSIGNED && state <= TaskState.RUNNING && task.desiredState <= TaskState.COMPLETE;
}
