/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";

/** What a manager answers to every call of a node that was removed (`swarmctl node rm`). */
export function removedNodeError(nodeId: string): SwarmError {
  return new SwarmError("PermissionDenied", `node ${nodeId} was removed from the cluster: join it again`);
}

/** Whether a manager's answer says that this very node was removed. */
export function isRemovedNodeError(error: SwarmError, nodeId: string): boolean {
  const { code, message } = removedNodeError(nodeId);
  return error.code === code && error.message.includes(message);
}
