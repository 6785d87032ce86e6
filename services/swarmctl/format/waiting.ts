/** Pure: no clock, no I/O, no randomness. */
import { isTerminal, type Node, NodeStatus_State, NodeStatus_State_names, type Task, TaskState } from "@starling/api";

/**
 * What a task that does not run waits for, when its status names no error; "" for one that runs, has ended or is not
 * wanted. `trouble` is what is wrong with its node, "" for none.
 */
export function waitsFor({ status, desiredState }: Task, trouble: string): string {
  const { state } = status;
  if (isTerminal(state)) return "";
  const onNode = state >= TaskState.ASSIGNED;
  if (onNode && trouble !== "") return trouble;
  if (desiredState > TaskState.COMPLETE) return onNode ? "is being stopped" : "";
  switch (state) {
    case TaskState.NEW:
      return "waits for its networks' addresses and ports";
    case TaskState.PENDING:
      return "waits for a node";
    case TaskState.ASSIGNED:
      return "waits for its node to take it";
    case TaskState.READY:
      return desiredState === TaskState.READY ? "waits for the task before it to stop, or for the restart delay" : "";
    case TaskState.PREPARING:
      return status.message === "preparing" ? "" : status.message;
    default:
      return "";
  }
}

/** What is wrong with a node that has tasks, in words. */
export function nodeTrouble({ id, description, status }: Node): string {
  if (status.state === NodeStatus_State.READY || status.state === NodeStatus_State.UNKNOWN) return "";
  const name = description?.hostname || id;
  const state = (NodeStatus_State_names[status.state] ?? "").toLowerCase();
  return `node ${name} is ${state}${status.message && `: ${status.message}`}`;
}
