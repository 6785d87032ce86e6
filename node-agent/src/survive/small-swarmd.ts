import { join } from "node:path";
import {
  Assignment,
  AssignmentChange,
  AssignmentChange_AssignmentAction,
  AssignmentsMessage,
  AssignmentsMessage_Type,
  isTerminal,
  type Task,
  TaskState,
  type TaskStatus,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { ContainerExecutor } from "../container/executor.ts";
import { Dependencies } from "../dependencies/dependencies.ts";
import { noNetwork } from "../exec/network-attacher.ts";
import { Reporter } from "../reporter.ts";
import { TaskDb } from "../task-db.ts";
import { Worker } from "../worker.ts";

/** Folders and cgroup that swarmds of one test share, one after the other. */
export interface Place {
  readonly folder: string;
  readonly cgroupParent: string;
}

/**
 * What of swarmd makes, keeps and removes tasks, without managers: they are played by `assign`. Another one at the same
 * place goes on where the last was killed.
 */
export class SmallSwarmd {
  readonly executor: ContainerExecutor;
  readonly #worker: Worker;
  readonly #statuses = new Map<string, TaskStatus>();
  readonly #told = new Set<() => void>();

  /** `bootId` stands for the kernel's when the host is to have been restarted. */
  constructor(place: Place, bootId?: string) {
    const [clock, log] = [systemClock, nullLogger];
    const dependencies = new Dependencies();
    this.executor = new ContainerExecutor({
      stateDir: join(place.folder, "state"),
      runDir: join(place.folder, "run"),
      cgroupParent: place.cgroupParent,
      hostname: "host1",
      network: noNetwork,
      ...{ clock, log, dependencies, bootId },
    });
    const reporter = new Reporter({ clock, log });
    reporter.attach(async (updates) => {
      for (const { taskId, status } of updates) if (status !== undefined) this.#statuses.set(taskId, status);
      for (const tell of this.#told) tell();
      this.#told.clear();
    });
    const db = new TaskDb(join(place.folder, "state", "tasks"), log);
    this.#worker = new Worker({ executor: this.executor, db, reporter, dependencies, clock, log });
  }

  /** Finds what is there of the swarmd before. */
  async start(): Promise<void> {
    await this.#worker.start();
    this.#worker.reportAll();
  }

  /** From now on exactly these tasks are this node's. */
  assign(...tasks: readonly Task[]): void {
    const { UPDATE } = AssignmentChange_AssignmentAction;
    const changes = tasks.map((task) =>
      AssignmentChange.create({ action: UPDATE, assignment: Assignment.create({ task }) }),
    );
    this.#worker.apply(AssignmentsMessage.create({ type: AssignmentsMessage_Type.COMPLETE, changes }));
  }

  /** The first status of a task that `holds`. */
  async status(taskId: string, holds: (status: TaskStatus) => boolean): Promise<TaskStatus> {
    for (;;) {
      const status = this.#statuses.get(taskId);
      if (status !== undefined && holds(status)) return status;
      await new Promise<void>((resolve) => {
        this.#told.add(resolve);
      });
    }
  }

  /** Until it runs, or never will. */
  running(taskId: string): Promise<TaskStatus> {
    return this.status(taskId, ({ state }) => state === TaskState.RUNNING || isTerminal(state));
  }

  ended(taskId: string): Promise<TaskStatus> {
    return this.status(taskId, ({ state }) => isTerminal(state));
  }

  /** Removes all tasks and what there is of them. */
  async removeAll(): Promise<void> {
    this.assign();
    await this.#worker.abandon();
    this.#statuses.clear();
  }

  async stop(): Promise<void> {
    await this.#worker.stop();
    await this.executor.close();
  }
}
