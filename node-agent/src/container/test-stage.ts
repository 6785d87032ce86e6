import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LogSubscriptionOptions } from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { Dependencies } from "../dependencies/dependencies.ts";
import type { Controller } from "../exec/controller.ts";
import { noNetwork } from "../exec/network-attacher.ts";
import { ContainerExecutor, type ContainerExecutorOptions } from "./executor.ts";
import { TestRegistry } from "./test-registry.ts";

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
