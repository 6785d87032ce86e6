import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BundleSpec, ProcessSpec } from "../bundle.ts";
import { createContainer, killLeftovers, Shim } from "../shim.ts";

/** What Docker gives a container's root, less what tests must ask for. */
const capabilities = [
  "CAP_CHOWN",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_SETUID",
  "CAP_SETGID",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
];

export interface Wishes {
  /** A program, or a script for the shell of the root. */
  readonly run: string | readonly string[];
  /** With a filter of system calls, or `seccomp: false`. */
  readonly process: Partial<ProcessSpec>;
  readonly spec?: Partial<BundleSpec>;
}

/** A container of a shim, as swarmd has them, over a root of its own that the host can see. */
export class Contained {
  readonly shim: Shim;
  readonly pid: number;
  readonly shimPid: number;
  /** The bundle; `log` lies in it. */
  readonly folder: string;

  private constructor(shim: Shim, folder: string, pids: { readonly pid: number; readonly shimPid: number }) {
    this.shim = shim;
    this.folder = folder;
    this.pid = pids.pid;
    this.shimPid = pids.shimPid;
  }

  /** Created and started. Throws what the shim says; then nothing of it is left. */
  static async start(rootfs: string, wishes: Wishes): Promise<Contained> {
    const folder = mkdtempSync(join(tmpdir(), "starling-contained-"));
    const args = typeof wishes.run === "string" ? ["/bin/sh", "-c", `exec 2>&1\n${wishes.run}`] : wishes.run;
    const spec: BundleSpec = {
      version: 1,
      id: "safety",
      hostname: "safety",
      process: { args, env: ["PATH=/bin"], capabilities, ...wishes.process },
      root: { folder: rootfs },
      cgroup: { name: `starling-safety-${process.pid}` },
      log: { path: join(folder, "log") },
      ...wishes.spec,
    };
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "spec.json"), JSON.stringify(spec));
    try {
      const pids = await createContainer(folder);
      const shim = await Shim.connect(folder);
      if (shim === undefined) throw new Error("the shim has ended");
      const contained = new Contained(shim, folder, pids);
      await shim.start().catch(async (error: Error) => {
        await contained.end();
        throw error;
      });
      return contained;
    } catch (error) {
      await killLeftovers(folder);
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Runs to its end and says what it wrote. */
  static async output(rootfs: string, wishes: Wishes): Promise<string> {
    const contained = await Contained.start(rootfs, wishes);
    try {
      if (!contained.shim.ended) await contained.shim.wait().catch(() => {});
      return contained.log();
    } finally {
      await contained.end();
    }
  }

  /** What came to the log so far. */
  log(): string {
    const lines = readFileSync(join(this.folder, "log"), "utf8").split("\n");
    return lines
      .filter((line) => line !== "")
      .map((line) => (JSON.parse(line) as { readonly log: string }).log)
      .join("");
  }

  /** Kilobytes that are this shim's own. */
  shimMemoryKb(): number {
    const rollup = readFileSync(`/proc/${this.shimPid}/smaps_rollup`, "utf8");
    return [...rollup.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB/gm)].reduce((sum, [, kb]) => sum + Number(kb), 0);
  }

  /** Kills it and removes all of it. */
  async end(): Promise<void> {
    await this.shim.kill().catch(() => {});
    this.shim.close();
    await killLeftovers(this.folder);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
