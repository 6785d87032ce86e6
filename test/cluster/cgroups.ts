import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { until } from "./until.ts";

/** One cgroup hierarchy of the machine, and the group in it below which hosts get theirs. */
export interface Hierarchy {
  readonly kind: "v1" | "v2";
  /** v1 controllers, or the name of a hierarchy without any (`name=systemd`). */
  readonly controllers: readonly string[];
  /** Absolute folder. */
  readonly parent: string;
}

/**
 * All mounted hierarchies, v1 and v2. Hosts' groups stand below the group that this process is in, so that whoever limits
 * or ends this process's group has the hosts too. On pure v2 they stand at the top: a v2 group with processes of its own
 * can't hand controllers down.
 */
export function hierarchies(
  selfCgroup = readFileSync("/proc/self/cgroup", "utf8"),
  mountinfo = readFileSync("/proc/self/mountinfo", "utf8"),
): readonly Hierarchy[] {
  const own = new Map(
    selfCgroup
      .trim()
      .split("\n")
      .map((line) => {
        const [, controllers = "", ...path] = line.split(":");
        return [controllers, path.join(":")];
      }),
  );
  const found = new Map<string, Hierarchy>();
  const mounts = mountinfo.split("\n").map(parseMount);
  const pure = !mounts.some((mount) => mount?.type === "cgroup");
  for (const mount of mounts) {
    if (mount?.type === "cgroup2") {
      const parent = pure ? mount.point : folderOf(mount, own.get(""));
      found.set("", { kind: "v2", controllers: [], parent });
    } else if (mount?.type === "cgroup") {
      const key = [...own.keys()].find((k) => k !== "" && k.split(",").every((c) => mount.options.includes(c)));
      if (key === undefined || found.has(key)) continue;
      found.set(key, {
        kind: "v1",
        controllers: key.split(","),
        parent: folderOf(mount, own.get(key)),
      });
    }
  }
  return [...found.values()];
}

function parseMount(line: string) {
  const [left, right] = line.split(" - ");
  const [, , , root, point] = left?.split(" ") ?? [];
  const [type, , options = ""] = right?.split(" ") ?? [];
  if (root === undefined || point === undefined) return undefined;
  return { root, point, type, options: options.split(",") };
}

/** Folder of the group `path` under a mount that may show its hierarchy only from the group `root` down. */
function folderOf(mount: { readonly root: string; readonly point: string }, path = "/"): string {
  const shown = mount.root !== "/" && path.startsWith(mount.root) ? path.slice(mount.root.length) : path;
  return resolve(mount.point, `.${shown}`);
}

/** Makes the groups, for groups below them: processes go into a `createLeaf`. Their parents must exist. */
export function createGroups(folders: readonly string[]): void {
  for (const folder of folders) makeGroup(folder);
}

/**
 * Makes the group `leaf` in each of the folders, to take processes, as systemd gives every unit a group of its own. (On
 * v2 a group hands its controllers down only while no process is in it directly.) Returns the folders.
 */
export function createLeaf(folders: readonly string[], leaf: string): readonly string[] {
  return folders.map((folder) => {
    const controllers = join(folder, "cgroup.controllers");
    if (existsSync(controllers)) {
      const names = readFileSync(controllers, "utf8").trim().split(" ").filter(Boolean);
      if (names.length > 0) writeFileSync(join(folder, "cgroup.subtree_control"), names.map((n) => `+${n}`).join(" "));
    }
    makeGroup(join(folder, leaf));
    return join(folder, leaf);
  });
}

function makeGroup(folder: string): void {
  if (existsSync(folder)) return;
  mkdirSync(folder);
  if (!existsSync(join(folder, "cpuset.cpus"))) return;
  // v2 lets a group use its parent's CPUs; v1 gives a new group none.
  if (existsSync(join(folder, "cgroup.controllers"))) return;
  for (const file of ["cpuset.cpus", "cpuset.mems"]) copySetting(dirname(folder), folder, file);
}

/** A new v1 cpuset group has no CPUs and no memory nodes and takes no process until it is given some. */
function copySetting(from: string, to: string, file: string): void {
  writeFileSync(join(to, file), readFileSync(join(from, file), "utf8"));
}

/** Kills every process in the groups and the groups below them, and removes them all. Groups that are gone are fine. */
export async function removeGroups(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    await until(
      `cgroup ${folder} is removed`,
      () => {
        const groups = descendants(folder);
        for (const group of groups) endProcesses(group);
        for (const group of groups) remove(group);
        return !existsSync(folder);
      },
      { timeoutMs: 10_000, periodMs: 5 },
    );
  }
}

/** Frozen processes of v1 do not die, not even of SIGKILL, until they are thawed. */
export function thaw(folders: readonly string[]): void {
  for (const group of folders.flatMap(descendants)) writeIfThere(join(group, "freezer.state"), "THAWED");
}

/** The group and all below it, deepest first. */
function descendants(folder: string): string[] {
  let entries: ReturnType<typeof readEntries>;
  try {
    entries = readEntries(folder);
  } catch {
    // Removed meanwhile.
    return [];
  }
  return [...entries.filter((e) => e.isDirectory()).flatMap((e) => descendants(join(folder, e.name))), folder];
}

function readEntries(folder: string) {
  return readdirSync(folder, { withFileTypes: true });
}

function endProcesses(group: string): void {
  if (writeIfThere(join(group, "cgroup.kill"), "1")) return;
  writeIfThere(join(group, "freezer.state"), "THAWED");
  let pids: string;
  try {
    pids = readFileSync(join(group, "cgroup.procs"), "utf8");
  } catch {
    // The group is gone.
    return;
  }
  for (const pid of pids.split("\n").map(Number).filter(Boolean)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Ended meanwhile.
    }
  }
}

function writeIfThere(file: string, text: string): boolean {
  if (!existsSync(file)) return false;
  try {
    writeFileSync(file, text, { flag: "r+" });
    return true;
  } catch {
    // The group went away between the two calls.
    return false;
  }
}

function remove(group: string): void {
  try {
    rmdirSync(group);
  } catch {
    // Gone, or its processes are still ending: the caller tries again.
  }
}
