import { readdirSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { TaskState, taskStateName } from "@starling/api";
import { Ground } from "./ground.ts";
import { leftovers } from "./leftovers.ts";
import { SmallSwarmd } from "./small-swarmd.ts";

/** What containers cost this process and the host, as long as there are any. */
export interface Counts {
  readonly openFiles: number;
  /** Of JavaScript, after a collection. */
  readonly heapBytes: number;
  readonly residentBytes: number;
  /** Files, cgroups, processes and mounts of containers, a line each. */
  readonly left: readonly string[];
}

/** Many containers of one node: at once, and in a row. */
export class LoadStage {
  readonly #ground: Ground;
  readonly #swarmd: SmallSwarmd;

  private constructor(ground: Ground) {
    this.#ground = ground;
    this.#swarmd = new SmallSwarmd(ground.place);
  }

  static async open(): Promise<LoadStage> {
    const stage = new LoadStage(await Ground.open());
    await stage.#swarmd.start();
    await stage.inARow(5); // The image, and what is loaded once.
    return stage;
  }

  async close(): Promise<void> {
    await this.#swarmd.removeAll();
    await this.#swarmd.stop();
    await this.#ground.close();
  }

  async counts(): Promise<Counts> {
    setFlagsFromString("--expose-gc");
    (runInNewContext("gc") as () => void)();
    const { heapUsed: heapBytes, rss: residentBytes } = process.memoryUsage();
    return {
      openFiles: readdirSync("/proc/self/fd").length,
      heapBytes,
      residentBytes,
      left: await leftovers(this.#ground.place),
    };
  }

  /** Runs so many at once, and removes them; milliseconds until all ran, and until nothing was left of them. */
  async atOnce(count: number): Promise<{ readonly runningMs: number; readonly removedMs: number }> {
    const tasks = Array.from({ length: count }, () => this.#ground.task("trap 'exit 0' TERM; sleep 1000 & wait"));
    const began = performance.now();
    this.#swarmd.assign(...tasks);
    for (const { id } of tasks) {
      const { state, err } = await this.#swarmd.running(id);
      if (state !== TaskState.RUNNING) throw new Error(`a task is ${taskStateName(state)}: ${err}`);
    }
    const runningMs = performance.now() - began;
    this.#swarmd.assign(...tasks.map((task) => ({ ...task, desiredState: TaskState.SHUTDOWN })));
    for (const { id } of tasks) await this.#swarmd.ended(id);
    await this.#swarmd.removeAll();
    return { runningMs, removedMs: performance.now() - began - runningMs };
  }

  /** Runs so many to their end, each after the one before is removed; milliseconds. */
  async inARow(count: number): Promise<number> {
    const began = performance.now();
    for (let i = 0; i < count; i++) {
      const task = this.#ground.task("exit 0");
      this.#swarmd.assign(task);
      const { state, err } = await this.#swarmd.ended(task.id);
      if (state !== TaskState.COMPLETE) throw new Error(`a task is ${taskStateName(state)}: ${err}`);
      await this.#swarmd.removeAll();
    }
    return performance.now() - began;
  }
}
