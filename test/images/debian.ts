import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder, mustExec } from "../cluster/index.ts";

const folder = join(cacheFolder, "debs");
const apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Sandbox::User=root", "-qq"];

/** Unpacks Debian packages of this machine's release and architecture into `root`, without running their scripts. */
export async function unpackPackages(names: readonly string[], root: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const missing = names.filter((name) => findPackage(name) === undefined);
  if (missing.length > 0) {
    const download = [...apt, "download", ...missing];
    await mustExec(download, { cwd: folder, timeoutMs: 300_000 }).catch(async () => {
      // The package lists are missing or older than the archive.
      await mustExec([...apt, "update"], { timeoutMs: 300_000 });
      await mustExec(download, { cwd: folder, timeoutMs: 300_000 });
    });
  }
  for (const name of names) {
    const file = findPackage(name);
    if (file === undefined) throw new Error(`apt-get download ${name} left no file in ${folder}`);
    await mustExec(["dpkg-deb", "-x", join(folder, file), root]);
  }
}

function findPackage(name: string): string | undefined {
  return readdirSync(folder).find((file) => file.startsWith(`${name}_`) && file.endsWith(".deb"));
}
