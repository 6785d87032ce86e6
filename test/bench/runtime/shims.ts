import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BundleSpec, createContainer, killLeftovers, Shim } from "@starling/native";
import { defaultSeccompProgram } from "@starling/node-agent";
import { type BenchOptions, type BenchRow, rowOf } from "../types.ts";

const SIGKILL = 9;
const name = (of: string) => ({ bench: "runtime", case: of, better: "lower" as const });

/** The bundle of a shim that runs `args` from one prepared root. */
function makeBundle(folder: string, id: string, args: readonly string[]): string {
  const root = join(folder, "shim-root");
  mkdirSync(join(root, "bin"), { recursive: true });
  try {
    copyFileSync("/bin/busybox", join(root, "bin/busybox"));
    chmodSync(join(root, "bin/busybox"), 0o755);
    for (const program of ["true", "sleep"]) symlinkSync("busybox", join(root, "bin", program));
  } catch {
    // Made for the bundle before: it may run already.
  }
  const bundle = join(folder, "bundles", id);
  mkdirSync(bundle, { recursive: true });
  const spec: BundleSpec = {
    version: 1,
    id,
    hostname: id,
    process: {
      args,
      env: ["PATH=/bin"],
      seccompProgram: defaultSeccompProgram({ architecture: process.arch, capabilities: [] }),
    },
    root: { folder: root },
    cgroup: { name: `bench-${process.pid}-${id}` },
  };
  writeFileSync(join(bundle, "spec.json"), JSON.stringify(spec));
  return bundle;
}

interface Running {
  readonly shim: Shim;
  readonly shimPid: number;
  readonly bundle: string;
  /** Asked for before the start: a shim whose container has ended answers who waits, and ends. */
  readonly end: Promise<unknown>;
}

async function start(bundle: string): Promise<Running> {
  const { shimPid } = await createContainer(bundle);
  const shim = await Shim.connect(bundle);
  if (shim === undefined) throw new Error(`${bundle}: its shim does not listen`);
  const end = shim.wait();
  // Whoever wants the end awaits it; nobody need.
  end.catch(() => {});
  await shim.start();
  return { shim, shimPid, bundle, end };
}

/** As swarmd does it: shim, container, start, wait for its end. */
export async function startToExit(folder: string, { quick }: BenchOptions): Promise<BenchRow> {
  const times: number[] = [];
  for (let i = 0; i < (quick ? 3 : 50); i++) {
    const bundle = makeBundle(folder, `true-${i}`, ["/bin/true"]);
    const begin = performance.now();
    const { end } = await start(bundle);
    await end;
    times.push(performance.now() - begin);
    await killLeftovers(bundle);
  }
  return rowOf({ ...name("start to exit of `true`, by a shim"), unit: "ms", target: 10 }, times);
}

/** Exec of `true` in a running container, by its shim. */
export async function execs(folder: string, { quick }: BenchOptions): Promise<BenchRow> {
  const { shim, bundle } = await start(makeBundle(folder, "exec", ["/bin/sleep", "1000"]));
  const times: number[] = [];
  for (let i = 0; i < (quick ? 3 : 100); i++) {
    const begin = performance.now();
    await shim.exec({ args: ["/bin/true"] });
    times.push(performance.now() - begin);
  }
  await shim.kill();
  await killLeftovers(bundle);
  return rowOf({ ...name("exec of `true`, by a shim"), unit: "ms", target: 5 }, times);
}

/** 200 containers at once: until all run, and what a shim keeps to itself then. */
export async function crowd(folder: string, { quick }: BenchOptions): Promise<readonly BenchRow[]> {
  const count = quick ? 20 : 200;
  const seconds: number[] = [];
  const memory: number[] = [];
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    const bundles = Array.from({ length: count }, (_, i) =>
      makeBundle(folder, `crowd-${round}-${i}`, ["/bin/sleep", "1000"]),
    );
    const begin = performance.now();
    const running = await Promise.all(bundles.map(start));
    seconds.push((performance.now() - begin) / 1000);
    memory.push(...running.map(({ shimPid }) => privateKiB(shimPid) / 1024));
    await Promise.all(running.map(({ shim }) => shim.signal(SIGKILL)));
    await Promise.all(running.map(({ bundle }) => killLeftovers(bundle)));
  }
  return [
    rowOf({ ...name(`${count} containers running`), unit: "s", target: 6 }, seconds),
    rowOf({ ...name("private memory of a shim"), unit: "MiB", target: 1.5 }, memory),
  ];
}

/** Pages that no other process has (proc(5), smaps_rollup). */
function privateKiB(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return [...text.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+)/gm)].reduce((sum, [, kib]) => sum + Number(kib), 0);
}
