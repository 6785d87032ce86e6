import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Programs, repositoryRoot } from "../cluster/index.ts";

/** What `npm run build` makes, away from the repository: it must start without npm and node_modules. */
export function buildDistribution(): Programs {
  const folder = mkdtempSync(join(tmpdir(), "starling-dist-"));
  try {
    execFileSync(process.execPath, ["deploy/build.ts", folder], { cwd: repositoryRoot, stdio: "pipe" });
    return { distribution: folder };
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
}

/** Undoes `buildDistribution`; does nothing for the sources. */
export function removeDistribution(programs: Programs | undefined): void {
  if (programs !== undefined && programs !== "sources") rmSync(programs.distribution, { recursive: true });
}
