import type { ContainerStatus, LogSubscriptionOptions, Node, NodeDescription, PortStatus, Task } from "@starling/api";

/**
 * Runs one task. One operation per state transition; `advance` (exec/advance.ts) decides which comes next. Every
 * operation may be called again after a restart of swarmd and then finds what an earlier call left.
 */
export interface Controller {
  /** New desired state or spec of the same task (in Swarm only desired state changes after creation). */
  update(task: Task, signal: AbortSignal): Promise<void>;
  /** PREPARING → READY: image pulled, root file system, network and dependencies in place. Throws `FatalTaskError` when it never can. */
  prepare(signal: AbortSignal): Promise<void>;
  /** READY → RUNNING: resolves once the process runs (or, with a health check, is healthy). */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when the process has ended by itself; throws `ExitError` when its exit code is not zero. */
  wait(signal: AbortSignal): Promise<void>;
  /** Stop signal, grace, then SIGKILL. Resolves when it has ended; ending an ended one does nothing. */
  shutdown(signal: AbortSignal): Promise<void>;
  /** SIGKILL at once. */
  terminate(signal: AbortSignal): Promise<void>;
  /** Removes everything of it from the host: shim, cgroup, mounts, network, files. */
  remove(signal: AbortSignal): Promise<void>;
  /** What is known of the process now; undefined before prepare. */
  containerStatus(): Promise<ContainerStatus | undefined>;
  /** Host-mode ports in use by it. */
  portStatus(): Promise<PortStatus | undefined>;
  /** Output kept so far and, with `follow`, what comes. */
  logs(options: LogSubscriptionOptions, signal: AbortSignal): AsyncIterable<LogChunk>;
  /** Called while an operation takes its time, with what the task's status shall say: "pulling 40 %". Set by who drives it. */
  onProgress?: ((message: string) => void) | undefined;
  /** Lets go of what this process holds of the container (sockets, watches); the container goes on. */
  close?(): void;
}

/** A piece of a task's output. */
export interface LogChunk {
  readonly stream: "stdout" | "stderr";
  /** Nanoseconds since the epoch, when the shim read it. */
  readonly timestampNs: bigint;
  readonly data: Uint8Array;
}

/** A process ended with a non-zero code or by a signal: the task FAILED. */
export class ExitError extends Error {
  override readonly name = "ExitError";
  readonly code: number;
  constructor(code: number, message = `task: non-zero exit (${code})`) {
    super(message);
    this.code = code;
  }
}

/** The task cannot run here, whatever is tried: REJECTED before STARTING, FAILED after. Message is shown in `service ps`. */
export class FatalTaskError extends Error {
  override readonly name = "FatalTaskError";
}

/** An operation that may succeed when tried again (registry away, device busy): retried each second, task stays where it is. */
export class TemporaryError extends Error {
  override readonly name = "TemporaryError";
}

/** Makes controllers and describes the node. */
export interface Executor {
  /** Platform, resources, engine labels, plugins: what the agent registers with. */
  describe(): Promise<NodeDescription>;
  /** The node object as the managers see it changed. */
  configure(node: Node): Promise<void>;
  controller(task: Task): Controller;
  /** Removes whatever of tasks is on the host that `known` does not list (after a restart). Returns what it removed. */
  removeUnknown(known: ReadonlySet<string>): Promise<readonly string[]>;
}
