import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { oneAfterTheOther } from "./runtime/oci.ts";
import { crowd, execs, startToExit } from "./runtime/shims.ts";
import type { BenchOptions, BenchRow } from "./types.ts";

/** Containers without a network, from a prepared root: beside crun and runc, many at once, exec, a shim's memory. */
export async function run(options: BenchOptions): Promise<readonly BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), "starling-bench-"));
  try {
    return [
      ...(await oneAfterTheOther(folder, options)),
      await startToExit(folder, options),
      await execs(folder, options),
      ...(await crowd(folder, options)),
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
