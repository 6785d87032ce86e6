import {
  AssignmentChange_AssignmentAction,
  type AssignmentsMessage,
  AssignmentsMessage_Type,
  type Config,
  isTerminal,
  type Secret,
  type Task,
  TaskState,
  TaskStatus,
} from "@starling/api";
import type { Clock, Logger, Millis } from "@starling/base";
import type { Controller, Executor } from "./exec/controller.ts";
import type { Reporter } from "./reporter.ts";
import type { TaskDb } from "./task-db.ts";
import { TaskManager } from "./task-manager.ts";

const removalRetryMs: Millis = 1_000;

/** Takes the secrets and configs that managers assign. Always called before the tasks that use them begin. */
export interface DependencySink {
  setSecret(secret: Secret): void;
  removeSecret(id: string): void;
  setConfig(config: Config): void;
  removeConfig(id: string): void;
}

/**
 * The node's tasks: applies assignments, keeps them on disk, has a TaskManager for each. Goes on with what is on disk
 * without any manager's word, and never touches a running container because swarmd starts or stops.
 */
export class Worker {
  readonly #executor: Executor;
  readonly #db: TaskDb;
  readonly #reporter: Reporter;
  readonly #dependencies: DependencySink;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #managers = new Map<string, TaskManager>();
  readonly #known = { secrets: new Set<string>(), configs: new Set<string>() };
  readonly #stopping = new AbortController();
  readonly #removals = new Set<Promise<void>>();

  constructor(options: {
    readonly executor: Executor;
    readonly db: TaskDb;
    readonly reporter: Reporter;
    readonly dependencies: DependencySink;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    this.#executor = options.executor;
    this.#db = options.db;
    this.#reporter = options.reporter;
    this.#dependencies = options.dependencies;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Goes on with the tasks on disk, and removes from the host what is of no known task. */
  async start(): Promise<void> {
    const tasks = await this.#db.load();
    const removed = await this.#executor.removeUnknown(new Set(tasks.map(({ id }) => id)));
    if (removed.length > 0) this.#log.info("removed what was left of unknown tasks", { count: removed.length });
    for (const task of tasks) this.#begin(task);
  }

  /** Stops managing and waits until all is on disk. Containers go on. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all([...this.#managers.values()].map((manager) => manager.close()));
    await Promise.all(this.#removals);
    for (const { controller } of this.#managers.values()) controller.close?.();
    await this.#db.flush();
  }

  /** Dependencies first, then tasks. After a COMPLETE message nothing is left that it does not name. */
  apply(message: AssignmentsMessage): void {
    const updated = new Map<string, Task>();
    const removed = new Set<string>();
    const dependencies = { secrets: new Set<string>(), configs: new Set<string>() };
    const { UPDATE } = AssignmentChange_AssignmentAction;
    for (const { action, assignment } of message.changes) {
      const { task, secret, config } = assignment ?? {};
      if (task && action === UPDATE) updated.set(task.id, task);
      else if (task) removed.add(task.id);
      if (secret && action === UPDATE) {
        dependencies.secrets.add(secret.id);
        this.#dependencies.setSecret(secret);
      } else if (secret) this.#dependencies.removeSecret(secret.id);
      if (config && action === UPDATE) {
        dependencies.configs.add(config.id);
        this.#dependencies.setConfig(config);
      } else if (config) this.#dependencies.removeConfig(config.id);
    }
    const isComplete = message.type === AssignmentsMessage_Type.COMPLETE;
    if (isComplete) this.#forgetDependencies(dependencies);
    for (const id of dependencies.secrets) this.#known.secrets.add(id);
    for (const id of dependencies.configs) this.#known.configs.add(id);
    for (const task of updated.values()) this.#assign(task);
    for (const id of [...this.#managers.keys()]) {
      if (removed.has(id) || (isComplete && !updated.has(id))) this.#remove(id);
    }
  }

  /** Ends every task, with its stop signal and grace, and leaves nothing of them. Resolves when that is done, or `stop` is. */
  async abandon(): Promise<void> {
    this.#forgetDependencies({ secrets: new Set(), configs: new Set() });
    for (const id of [...this.#managers.keys()]) this.#remove(id, "shutdown");
    await Promise.all(this.#removals);
  }

  /** Tells the newest status of every task again, for managers that may have missed some. */
  reportAll(): void {
    for (const { task } of this.#managers.values()) this.#reporter.report(task.id, task.status);
  }

  /** Tasks on the node with what runs them. */
  get tasks(): readonly { readonly task: Task; readonly controller: Controller }[] {
    return [...this.#managers.values()];
  }

  #assign(task: Task): void {
    const manager = this.#managers.get(task.id);
    if (manager === undefined) {
      this.#db.put(task);
      this.#begin(task);
      return;
    }
    manager.update(task);
    this.#db.put(manager.task);
  }

  #begin(task: Task): void {
    let controller: Controller;
    try {
      controller = this.#executor.controller(task);
    } catch (error) {
      const status = TaskStatus.create({ ...task.status, state: TaskState.REJECTED, err: (error as Error).message });
      this.#reporter.report(task.id, isTerminal(task.status.state) ? task.status : status);
      return;
    }
    const manager = new TaskManager({
      task,
      controller,
      clock: this.#clock,
      log: this.#log,
      onStatus: (changed) => {
        this.#db.put(changed);
        this.#reporter.report(changed.id, changed.status);
      },
      saved: () => this.#db.saved(task.id),
    });
    this.#managers.set(task.id, manager);
    manager.start();
  }

  #remove(taskId: string, end: "terminate" | "shutdown" = "terminate"): void {
    const manager = this.#managers.get(taskId);
    if (manager === undefined) return;
    this.#managers.delete(taskId);
    this.#reporter.drop(taskId);
    const removal = this.#carryAway(manager, end).finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** Off the disk at once: if swarmd ends on the way, the next start finds what is left to be of no known task. */
  async #carryAway(manager: TaskManager, end: "terminate" | "shutdown"): Promise<void> {
    const { signal } = this.#stopping;
    const { id, status } = manager.task;
    await manager.close();
    this.#db.delete(id);
    while (!signal.aborted) {
      try {
        if (!isTerminal(status.state) && status.state >= TaskState.PREPARING) await manager.controller[end](signal);
        await manager.controller.remove(signal);
        manager.controller.close?.();
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#log.warn("removal of a task will be tried again", { "task.id": id, error });
        await this.#clock.sleep(removalRetryMs, signal).catch(() => undefined); // Aborted: the loop ends.
      }
    }
  }

  #forgetDependencies(kept: { readonly secrets: ReadonlySet<string>; readonly configs: ReadonlySet<string> }): void {
    for (const id of this.#known.secrets) if (!kept.secrets.has(id)) this.#dependencies.removeSecret(id);
    for (const id of this.#known.configs) if (!kept.configs.has(id)) this.#dependencies.removeConfig(id);
    this.#known.secrets.clear();
    this.#known.configs.clear();
  }
}
