import { spawn } from "node:child_process";
import { mkdtempSync, realpathSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MiB = 2 ** 20;

/**
 * Boots a User-Mode-Linux guest (Debian's user-mode-linux) whose root is this host's, read-only, and whose control groups are of
 * one version alone; runs the scenarios in it and turns it off. Resolves with what it printed, a line each. Throws with the end of
 * its console when it does not come to its end. Leaves nothing.
 */
export async function runInGuest(cgroups: "v1" | "v2", timeoutMs: number): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), "starling-guest-"));
  try {
    for (const [name, size] of Object.entries({ disk: 64 * MiB, swap: 128 * MiB })) {
      writeFileSync(join(folder, name), "");
      truncateSync(join(folder, name), size);
    }
    const words = [
      ...["mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"],
      ...[`ubda=${join(folder, "disk")}`, `ubdb=${join(folder, "swap")}`, `uml_dir=${folder}`, "umid=guest"],
      ...["con=null", "con0=null,fd:1", "console=tty0", "quiet"],
      `init=${join(import.meta.dirname, "init.sh")}`,
      `GUEST_NODE=${realpathSync(process.execPath)}`,
      `GUEST_FOLDER=${import.meta.dirname}`,
      `GUEST_CGROUPS=${cgroups}`,
    ];
    const console_ = await run(["linux.uml", ...words], timeoutMs);
    const lines = console_.split(/\r?\n/);
    if (!lines.includes("@end")) throw new Error(`the guest did not come to its end:\n${lines.slice(-30).join("\n")}`);
    return lines.filter((line) => line.startsWith("@{")).map((line) => line.slice(1));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** In a PID namespace of its own: the guest is many processes of this host, which end together. */
function run(command: readonly string[], timeoutMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn("unshare", ["--pid", "--fork", "--kill-child", ...command], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    let text = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (data: Buffer) => (text += data.toString("utf8")));
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}
