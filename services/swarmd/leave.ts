import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LeaveSwarmResponse, type NodeSelf } from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { SwarmError } from "@starling/base";

/** swarmd's exit status after it left its swarm; the systemd unit does not start it again then. */
export const leftStatus = 3;

/** Answers `NodeSelf`. `stopTasks` resolves when no task is left; `end` has swarmd end, with its answers out. */
export function nodeSelfHandlers(node: {
  isManager(): boolean;
  stopTasks(): Promise<void>;
  end(): void;
}): Handlers<typeof NodeSelf> {
  return {
    leave: async ({ force }) => {
      if (node.isManager() && !force) {
        throw new SwarmError(
          "FailedPrecondition",
          "this node is a manager: demote it first (swarmctl node demote self), or use --force, after which the others count it as lost, and without a majority of them the swarm stands still",
        );
      }
      await node.stopTasks();
      node.end();
      return LeaveSwarmResponse.create();
    },
  };
}

/** Removes all by which the host was a node: the next start is that of a new one. Volumes and images stay. */
export async function forgetNode(stateDir: string): Promise<void> {
  for (const name of ["raft", "worker", "node.json", "certificates"]) {
    await rm(join(stateDir, name), { recursive: true, force: true });
  }
}
