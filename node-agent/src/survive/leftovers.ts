import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { Place } from "./small-swarmd.ts";

/** The kernel may still be taking down what was ended. */
const patienceMs = 2_000;
const lookEveryMs = 20;

/** What containers of a place have left on this host, a line each; empty when there is nothing. */
export async function leftovers(place: Place): Promise<readonly string[]> {
  for (let waitedMs = 0; ; waitedMs += lookEveryMs) {
    const found = [...files(place), ...cgroups(place), ...processes(place), ...mounts(place)];
    if (found.length === 0 || waitedMs >= patienceMs) return found;
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

function files({ folder }: Place): readonly string[] {
  const within = ["run/containers", "state/containers", "state/tasks", "state/volumes"];
  return within.flatMap((name) => entries(join(folder, name)).map((entry) => `file ${name}/${entry}`));
}

/** The group of all containers goes with the last of them. */
function cgroups({ cgroupParent }: Place): readonly string[] {
  const hierarchies = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(" ")[4] ?? "");
  return hierarchies.map((folder) => join(folder, cgroupParent)).filter((group) => existsSync(group));
}

/** By their cgroup, or, of shims, by their working folder. One that has ended counts no more, collected by init or not. */
function processes({ folder, cgroupParent }: Place): readonly string[] {
  const isOurs = (pid: string) =>
    !/\) [ZX] /.test(text(`/proc/${pid}/stat`)) &&
    (link(`/proc/${pid}/cwd`).startsWith(`${folder}/`) || text(`/proc/${pid}/cgroup`).includes(`${cgroupParent}/`));
  return numbered("/proc")
    .filter(isOurs)
    .map((pid) => `process ${pid} ${text(`/proc/${pid}/cmdline`).replaceAll("\0", " ")}`);
}

/** In whatever mount namespace: processes elsewhere may hold a copy. */
function mounts({ folder }: Place): readonly string[] {
  return numbered("/proc").flatMap((pid) =>
    text(`/proc/${pid}/mountinfo`)
      .split("\n")
      .filter((line) => line.includes(`${folder}/`))
      .map((line) => `mount of process ${pid}: ${line}`),
  );
}

const numbered = (folder: string) => readdirSync(folder).filter((name) => /^\d+$/.test(name));

const entries = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);

/** "" for a process that has ended by now. */
function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
