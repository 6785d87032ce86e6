import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContainerSpec, LogSubscriptionOptions, type ResourceRequirements, Task, TaskSpec } from "@starling/api";
import { newId, nullLogger, systemClock } from "@starling/base";
import { Dependencies } from "../dependencies/dependencies.ts";
import type { Controller } from "../exec/controller.ts";
import { noNetwork } from "../exec/network-attacher.ts";
import { ContainerExecutor, type ContainerExecutorOptions } from "./executor.ts";
import { TestRegistry } from "./test-registry.ts";

/** What a test's task has beyond a script. */
export interface TaskParts {
  readonly spec?: Partial<ContainerSpec>;
  /** Labels `io.starling.NAME`. */
  readonly options?: Readonly<Record<string, string>>;
  readonly resources?: ResourceRequirements;
  /** Default: errors go into the stream of the output, since the lines of two have no order. */
  readonly twoStreams?: boolean;
}

/** Containers of the test image on this host, for one test file. */
export class ContainerStage {
  readonly folder: string;
  readonly registry: TestRegistry;
  readonly executor: ContainerExecutor;
  readonly #options: Partial<ContainerExecutorOptions>;

  private constructor(folder: string, registry: TestRegistry, options: Partial<ContainerExecutorOptions>) {
    this.folder = folder;
    this.registry = registry;
    this.#options = options;
    this.executor = this.newExecutor();
  }

  /** `options` as they differ from those of a host without networks. */
  static async open(
    options: (folder: string) => Partial<ContainerExecutorOptions> = () => ({}),
  ): Promise<ContainerStage> {
    const folder = mkdtempSync(join(tmpdir(), "starling-container-"));
    const stage = new ContainerStage(folder, await TestRegistry.start(), options(folder));
    await stage.executor.open();
    return stage;
  }

  async close(): Promise<void> {
    await this.executor.removeUnknown(new Set());
    await this.executor.close();
    await this.registry.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A task that runs the script in a shell. */
  task(script: string, more: TaskParts = {}): Task {
    const labels = Object.fromEntries(
      Object.entries(more.options ?? {}).map(([name, value]) => [`io.starling.${name}`, value]),
    );
    const command = ["sh", "-c", more.twoStreams ? script : `exec 2>&1; ${script}`];
    const container = ContainerSpec.create({ image: this.registry.image, command, labels, ...more.spec });
    const spec = TaskSpec.create({ container, resources: more.resources });
    return Task.create({ id: newId(), nodeId: "n1", slot: 1, spec });
  }

  /** Runs a task to its end, whatever its exit code; what it printed, or why it did not start. */
  async run(of: Task): Promise<string> {
    const { signal } = new AbortController();
    const controller = this.executor.controller(of);
    try {
      await controller.prepare(signal);
      await controller.start(signal);
    } catch (error) {
      return (error as Error).message;
    }
    await controller.wait(signal).catch(() => {});
    const text = await outputOf(controller);
    await controller.remove(signal);
    return text;
  }

  /** One more over the same folders, as after a restart of swarmd. */
  newExecutor(): ContainerExecutor {
    return new ContainerExecutor({
      stateDir: join(this.folder, "state"),
      runDir: join(this.folder, "run"),
      log: nullLogger,
      clock: systemClock,
      hostname: "host1",
      network: noNetwork,
      dependencies: new Dependencies(),
      ...this.#options,
    });
  }
}

/** What a container has printed, both streams. */
export async function outputOf(controller: Controller): Promise<string> {
  const { signal } = new AbortController();
  let text = "";
  for await (const { data } of controller.logs(LogSubscriptionOptions.create(), signal)) text += Buffer.from(data);
  return text;
}
