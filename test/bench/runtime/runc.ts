import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { exec } from "../../cluster/index.ts";

const cache = join(import.meta.dirname, "../../../.cache/bench/runc");

/**
 * Debian's runc: the installed one, else taken from its package into .cache, since nothing but this bench needs it. Undefined
 * when it cannot be had.
 */
export async function runcPath(): Promise<string | undefined> {
  for (const path of ["/usr/sbin/runc", join(cache, "usr/sbin/runc")]) if (existsSync(path)) return path;
  mkdirSync(cache, { recursive: true });
  const script = "apt-get -qq download runc && dpkg-deb -x runc_*.deb . && rm runc_*.deb";
  const got = await exec(["sh", "-c", script], { cwd: cache });
  return got.code === 0 ? join(cache, "usr/sbin/runc") : undefined;
}
