import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nativeTool } from "@starling/native";
import { exec, mustExec } from "../../cluster/index.ts";
import { type BenchOptions, type BenchRow, rowOf } from "../types.ts";
import { runcPath } from "./runc.ts";

/** Debian's crun and runc refuse hosts with cgroups of both versions: they see the first alone, and make groups there. */
const v1Only = ["unshare", "--mount", "sh", "-c", 'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh"];
/** As above, but crun sees the second version alone and makes no group at all: less than what is measured of the others. */
const v2Only = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"];
const timer = join(import.meta.dirname, "timer.ts");

/** Start to exit of `true` by `run` of each runtime, in turns, from one bundle, each with its state in memory, as /run is. */
export async function oneAfterTheOther(folder: string, options: BenchOptions): Promise<readonly BenchRow[]> {
  const state = mkdtempSync("/dev/shm/starling-bench-runtime-");
  try {
    return await inTurns(folder, state, options);
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
}

async function inTurns(folder: string, state: string, { quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const bundle = await makeBundle(folder);
  const id = `bench-${process.pid}`;
  const crun = `crun ${/crun version (\S+)/.exec((await exec(["crun", "--version"])).stdout)?.[1] ?? ""}`;
  const runc = await runcPath();
  const run = (program: string, ...options: string[]) => [
    ...[program, "--root", join(state, program), ...options],
    ...["run", "--bundle", bundle, id],
  ];
  const sides = [
    { name: "starling-run", around: [], command: run(nativeTool("starling-run")) },
    { name: `${crun}, no cgroup`, around: v2Only, command: run("/usr/bin/crun", "--cgroup-manager=disabled") },
    { name: crun, around: v1Only, command: run("/usr/bin/crun", "--cgroup-manager=cgroupfs") },
    ...(runc === undefined ? [] : [{ name: "runc", around: v1Only, command: run(runc) }]),
  ];
  const times = sides.map((): number[] => []);
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    for (const [i, side] of sides.entries()) {
      times[i]?.push(...(await time(side.around, quick ? 3 : 20, side.command)));
    }
  }
  const rows = sides.map(({ name }, i) =>
    rowOf(
      { bench: "runtime", case: `start to exit of \`true\`, ${name}`, unit: "ms", better: "lower" },
      times[i] ?? [],
    ),
  );
  const [ours, withGroup] = [rows[0]!, rows[2]!];
  const ratio = rowOf(
    {
      bench: "runtime",
      case: `the same: share of ${crun}`,
      unit: "",
      better: "lower",
      target: 2 / 3,
    },
    [ours.value / withGroup.value],
  );
  return [{ ...ours, target: 10, other: { name: crun, value: withGroup.value } }, ...rows.slice(1), ratio];
}

/** crun's own default config; its root serves all. */
async function makeBundle(folder: string): Promise<string> {
  const bundle = join(folder, "bundle");
  mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
  copyFileSync("/bin/busybox", join(bundle, "rootfs/bin/true"));
  chmodSync(join(bundle, "rootfs/bin/true"), 0o755);
  await mustExec(["crun", "spec"], { cwd: bundle });
  const config = join(bundle, "config.json");
  const spec = JSON.parse(readFileSync(config, "utf8")) as { process: object };
  writeFileSync(
    config,
    JSON.stringify({ ...spec, process: { ...spec.process, args: ["/bin/true"], terminal: false } }),
  );
  return bundle;
}

/** Milliseconds of each of `count` runs of a program, one after the other. */
async function time(around: readonly string[], count: number, words: readonly string[]): Promise<number[]> {
  const output = await mustExec([...around, process.execPath, timer, String(count), ...words], { timeoutMs: 120_000 });
  return JSON.parse(output) as number[];
}
