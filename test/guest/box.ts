import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type BundleDevice,
  type BundleSpec,
  createContainer,
  type ExitStatus,
  killLeftovers,
  readExitStatus,
  Shim,
} from "@starling/native";

type Resources = NonNullable<BundleSpec["resources"]>;

/** A container that runs; `remove` ends it and leaves nothing. */
export class Contained {
  readonly shim: Shim;
  readonly #bundle: string;

  constructor(shim: Shim, bundle: string) {
    this.shim = shim;
    this.#bundle = bundle;
  }

  /** What a file of its control groups says. Throws where none has it. */
  setting(name: string): string {
    const { cgroups } = JSON.parse(readFileSync(join(this.#bundle, "state.json"), "utf8")) as { cgroups: string[] };
    const folder = cgroups.find((group) => existsSync(join(group, name)));
    if (folder === undefined) throw new Error(`${name}: no group of the container has it`);
    return readFileSync(join(folder, name), "utf8").trim();
  }

  /** What it has read and written of a device. */
  bytesOf({ major, minor }: BundleDevice): number {
    const lines = this.setting("blkio.throttle.io_service_bytes").split("\n");
    return Number(lines.find((line) => line.startsWith(`${major}:${minor} Total `))?.split(" ")[2] ?? 0);
  }

  /** Resolves when it has used so many milliseconds of CPU time from now on. */
  async usesCpu(ms: number): Promise<void> {
    const from = (await this.shim.stats()).cpuUsageNs;
    while ((await this.shim.stats()).cpuUsageNs - from < ms * 1e6)
      await new Promise((resolve) => setTimeout(resolve, 20));
  }

  /** How it ended; its shim may have gone before it was asked. */
  async exit(): Promise<ExitStatus> {
    const exit = await this.shim.wait().catch(() => readExitStatus(this.#bundle));
    if (exit === undefined) throw new Error("the shim ended without saying how the container did");
    return exit;
  }

  async remove(): Promise<void> {
    await this.shim.kill().catch(() => {});
    await this.shim.wait().catch(() => {});
    this.shim.close();
    await killLeftovers(this.#bundle);
  }
}

/** Runs busybox in containers below one folder, by the shim itself: no swarmd, no images. */
export class Box {
  readonly #folder: string;
  #count = 0;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(join(folder, "root/bin"), { recursive: true });
    copyFileSync("/bin/busybox", join(folder, "root/bin/busybox"));
    chmodSync(join(folder, "root/bin/busybox"), 0o755);
    for (const name of ["sh", "dd", "sleep", "cut", "awk", "grep", "mknod", "rm", "true"]) {
      symlinkSync("busybox", join(folder, "root/bin", name));
    }
  }

  /** Runs a script to its end. */
  async run(
    script: string,
    resources: Resources,
    more: Partial<BundleSpec> = {},
  ): Promise<{ readonly output: string; readonly exit: ExitStatus }> {
    const { container, log } = await this.#create(script, resources, more);
    try {
      const exit = await container.exit();
      const lines = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n") : [];
      const output = lines.map((line) => (line === "" ? "" : (JSON.parse(line) as { log: string }).log)).join("");
      return { output, exit };
    } finally {
      await container.remove();
    }
  }

  async start(script: string, resources: Resources, more: Partial<BundleSpec> = {}): Promise<Contained> {
    return (await this.#create(script, resources, more)).container;
  }

  async #create(script: string, resources: Resources, more: Partial<BundleSpec>) {
    const id = `box-${process.pid}-${this.#count++}`;
    const bundle = join(this.#folder, id);
    mkdirSync(bundle);
    const log = join(bundle, "log.json");
    const spec: BundleSpec = {
      version: 1,
      id,
      hostname: "box",
      process: {
        args: ["sh", "-c", `exec 2>&1; ${script}`],
        env: ["PATH=/bin"],
        capabilities: ["CAP_MKNOD"],
        seccomp: false,
      },
      root: { folder: join(this.#folder, "root") },
      cgroup: { name: id },
      resources,
      log: { path: log },
      ...more,
    };
    writeFileSync(join(bundle, "spec.json"), JSON.stringify(spec));
    try {
      await createContainer(bundle);
      const shim = await Shim.connect(bundle);
      if (shim === undefined) throw new Error("no shim answers");
      await shim.start();
      return { container: new Contained(shim, bundle), log };
    } catch (error) {
      await killLeftovers(bundle);
      throw error;
    }
  }
}
