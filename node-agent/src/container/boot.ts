import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { killLeftovers } from "@starling/native";

/** Changes with each start of the kernel. */
export async function hostBootId(): Promise<string> {
  return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
}

/**
 * Makes `<runDir>/containers`, without the bundles of another boot: none of their processes lives, and they hold secrets.
 * On a tmpfs the reboot has taken them; elsewhere `<runDir>/boot-id` tells. Returns how many there were.
 */
export async function forgetOtherBoot(runDir: string, bootId: string): Promise<number> {
  const containers = join(runDir, "containers");
  const file = join(runDir, "boot-id");
  await mkdir(containers, { recursive: true, mode: 0o700 });
  const before = await readFile(file, "utf8").catch(() => "");
  if (before === bootId) return 0;
  const stale = before === "" ? [] : await readdir(containers);
  for (const id of stale) {
    // A shim's pid may be another's by now, which it sees; cgroups are gone unless the id was taken for changed.
    await killLeftovers(join(containers, id));
    await rm(join(containers, id), { recursive: true, force: true });
  }
  await writeFile(file, bootId);
  return stale.length;
}
