/** Pure: no clock, no I/O, no randomness. */
import { isTerminal, TaskState } from "@starling/api";
import { ExitError, FatalTaskError, TemporaryError } from "./controller.ts";

/**
 * What brings a task nearer to its desired state.
 * - rest: nothing, until the desired state changes
 * - move: the next state needs no operation
 * - operate: the next state is reached when the operation succeeds
 */
export type Step =
  | { readonly t: "rest" }
  | { readonly t: "move"; readonly to: TaskState; readonly message: string }
  | {
      readonly t: "operate";
      readonly operation: "prepare" | "start" | "wait" | "shutdown";
      readonly to: TaskState;
      readonly message: string;
    };

const rest: Step = { t: "rest" };

/** The one step that `state` and `desired` ask for (swarmkit agent/exec/controller.go Do). */
export function nextStep(state: TaskState, desired: TaskState): Step {
  if (desired >= TaskState.SHUTDOWN) {
    if (isTerminal(state)) return rest;
    return { t: "operate", operation: "shutdown", to: TaskState.SHUTDOWN, message: "shutdown" };
  }
  if (state > desired) return rest;
  // These go on even when what is desired is reached: they are not states to stay in.
  switch (state) {
    case TaskState.PREPARING:
      return { t: "operate", operation: "prepare", to: TaskState.READY, message: "prepared" };
    case TaskState.STARTING:
      return { t: "operate", operation: "start", to: TaskState.RUNNING, message: "started" };
    case TaskState.RUNNING:
      return { t: "operate", operation: "wait", to: TaskState.COMPLETE, message: "finished" };
  }
  if (state >= desired) return rest;
  switch (state) {
    case TaskState.NEW:
    case TaskState.PENDING:
    case TaskState.ASSIGNED:
      return { t: "move", to: TaskState.ACCEPTED, message: "accepted" };
    case TaskState.ACCEPTED:
      return { t: "move", to: TaskState.PREPARING, message: "preparing" };
    case TaskState.READY:
      return { t: "move", to: TaskState.STARTING, message: "starting" };
    default:
      return rest;
  }
}

/** What an operation's error means: try it again, or the task is over. `err` is shown in `service ps`. */
export type Failure =
  | { readonly t: "retry"; readonly err: string }
  | { readonly t: "over"; readonly state: TaskState; readonly err: string; readonly exitCode: number | undefined };

/**
 * Before STARTING a task that fails is REJECTED, from then on FAILED. A shutdown that fails is tried again unless it is
 * fatal: a task must not count as ended while its process may live.
 */
export function failureOf(state: TaskState, operation: string, error: unknown): Failure {
  const err = error instanceof Error ? error.message : String(error);
  const fatal = error instanceof FatalTaskError;
  if (error instanceof TemporaryError || (operation === "shutdown" && !fatal)) return { t: "retry", err };
  return {
    t: "over",
    state: state < TaskState.STARTING ? TaskState.REJECTED : TaskState.FAILED,
    err,
    exitCode: error instanceof ExitError ? error.code : undefined,
  };
}
