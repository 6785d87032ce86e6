import type { PortConfig, Task } from "@starling/api";
import type { Millis } from "@starling/base";

/** A task's network namespace as the host sees it. Valid from the controller's prepare until the process ends. */
export interface NetnsRef {
  /** `/proc/<pid>/ns/net`. Open it when attaching; the path dies with the container's init. */
  readonly path: string;
  /** The container's init, in the PID namespace of swarmd; blocked before its exec while attach runs. */
  readonly pid: number;
}

/** What name resolution in the container needs. */
export interface NetworkFiles {
  /** All of /etc/resolv.conf. */
  readonly resolvConf: string;
  /** The task's own addresses: /etc/hosts gives them its hostname. */
  readonly addresses: readonly string[];
}

/**
 * Joins tasks to networks. The controller calls attach between create and start of a container, leave and drained before the
 * stop signal, and detach after the process has ended; after a restart of swarmd it calls attach again for each container
 * that still runs. Each may be repeated.
 */
export interface NetworkAttacher {
  /** Interfaces, addresses, routes and names of `task` in its namespace. Throws TemporaryError or FatalTaskError. */
  attach(task: Task, netns: NetnsRef): Promise<NetworkFiles>;
  /** Takes the task out of names and balancers on this host, so that new connections go elsewhere, and has the other hosts told. */
  leave(taskId: string): Promise<void>;
  /**
   * After leave: resolves when no host sends the task new connections any more and its servers' connections have ended, for
   * which they have `drainMs`. Ends early when the signal aborts; never rejects for another host's fault.
   */
  drained(taskId: string, options: { readonly drainMs: Millis; readonly signal: AbortSignal }): Promise<void>;
  /** Removes what attach made on the host's side. */
  detach(taskId: string): Promise<void>;
  /** Host-mode ports that an attached task answers on, with the numbers chosen for those that had none. */
  hostPorts(task: Task): readonly PortConfig[];
}

/** Loopback only. */
export const noNetwork: NetworkAttacher = {
  attach: async () => ({ resolvConf: "", addresses: [] }),
  leave: async () => {},
  drained: async () => {},
  detach: async () => {},
  hostPorts: () => [],
};
