import type { UpdateTaskStatusRequest_TaskStatusUpdate as TaskStatusUpdate } from "@starling/api";
import { pacedTurn, SwarmError } from "@starling/base";
import type { Running } from "./running.ts";
import type { Write } from "./store-writer.ts";

/**
 * Resolves when what a node says of its tasks is committed; of tasks that are gone it is ignored. Rejects PermissionDenied, and
 * takes nothing, if one of them is another node's.
 */
export async function commitReport(
  { options, writes }: Running,
  nodeId: string,
  updates: readonly TaskStatusUpdate[],
): Promise<void> {
  await writes.add(
    updates.flatMap(({ taskId, status }): Write[] => {
      const task = options.store.view((tx) => tx.tasks.get(taskId));
      if (task === undefined || status === undefined) return [];
      if (task.nodeId !== nodeId) {
        throw new SwarmError("PermissionDenied", `task ${taskId}: cannot update a task not assigned this node`);
      }
      return [{ t: "task-status", taskId, nodeId, status }];
    }),
  );
  // Many reports share a transaction, and are not to be answered all at once.
  await pacedTurn(options.clock);
}
