import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nativeTool } from "@starling/native";
import { exec, mustExec } from "../cluster/index.ts";
import { type BenchOptions, type BenchRow, rowOf } from "./types.ts";

/** Debian's crun refuses hosts with cgroups of both versions unless it sees only the second, and makes no group. */
const crunSurroundings = ["unshare", "--mount", "sh", "-c", 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "sh"];
const timer = join(import.meta.dirname, "node/timer.ts");

/**
 * Start to exit of a container that runs a static `true`, without a network: starling-run, which makes cgroups, against
 * crun, which here makes none; in turns, in one run.
 */
export async function run({ quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const rounds = quick ? 1 : 5;
  const perRound = quick ? 3 : 20;
  const bundle = mkdtempSync(join(tmpdir(), "starling-bench-"));
  try {
    await makeBundle(bundle);
    const rootfs = join(bundle, "rootfs");
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      ours.push(...(await time([], perRound, [nativeTool("starling-run"), rootfs, "/bin/true"])));
      const crun = ["/usr/bin/crun", "--cgroup-manager=disabled", "run", "--bundle", bundle, `bench-${process.pid}`];
      theirs.push(...(await time(crunSurroundings, perRound, crun)));
    }
    const version = /crun version (\S+)/.exec((await exec(["crun", "--version"])).stdout)?.[1] ?? "";
    const name = { bench: "node", case: "start to exit of `true`", unit: "ms", better: "lower" } as const;
    const crunRow = rowOf({ ...name, case: `${name.case}, crun ${version}` }, theirs);
    return [rowOf({ ...name, target: 10, other: { name: `crun ${version}`, value: crunRow.value } }, ours), crunRow];
  } finally {
    rmSync(bundle, { recursive: true, force: true });
  }
}

/** crun's bundle; its root serves both. */
async function makeBundle(bundle: string): Promise<void> {
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
}

/** Milliseconds of each of `count` runs of a program, one after the other. */
async function time(surroundings: readonly string[], count: number, words: readonly string[]): Promise<number[]> {
  const output = await mustExec([...surroundings, process.execPath, timer, String(count), ...words], {
    timeoutMs: 120_000,
  });
  return JSON.parse(output) as number[];
}
