import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { bundleLoader, bundleProgram } from "./distribution/bundle.ts";
import { lean } from "./distribution/lean.ts";

const root = join(import.meta.dirname, "..");
const dist = resolve(process.argv[2] ?? join(root, "dist"));
const programs = ["swarmd", "swarmctl"];

/** Where compiled programs and addons are, and where code that looks for them beside itself finds them in dist/. */
const nativeFolders = ["native/build/Release", "native/binding/build/Release", "native/net/build/Release"];

/**
 * `npm run build`: dist/bin/swarmd and dist/bin/swarmctl, which need no npm, no node_modules and no Node of the machine.
 *
 *     dist/bin/PROGRAM           starts lib/node with lib/run.cjs and the program's name
 *     dist/lib/node              Node 24
 *     dist/lib/PROGRAM.js, *.js  bundles; parts that are loaded on demand are files of their own
 *     dist/lib/run.cjs, cache/    runs them with V8's code caches, filled by a run of both programs
 *     dist/lib/build/Release/    addons, shim and helpers
 *     dist/lib/check-host.sh     `swarmd --check`
 *
 * dist/, or the folder that is named on the command line, is replaced as a whole, at the end.
 */
async function main(): Promise<void> {
  const unfinished = `${dist}.${process.pid}`;
  rmSync(unfinished, { recursive: true, force: true });
  try {
    for (const name of programs) await bundleProgram(name, join(unfinished, "lib"));
    await bundleLoader(join(unfinished, "lib"));
    copyNative(join(unfinished, "lib/build/Release"));
    copyFileSync(process.execPath, join(unfinished, "lib/node"));
    copyFileSync(join(root, "deploy/check-host.sh"), join(unfinished, "lib/check-host.sh"));
    for (const file of ["LICENSE", "README.md"]) copyIfThere(join(root, file), join(unfinished, file));
    writeStarters(join(unfinished, "bin"));
    fillCodeCaches(unfinished);
    rmSync(dist, { recursive: true, force: true });
    renameSync(unfinished, dist);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

/**
 * Runs both programs, each time with the caches of the run before: what they hold is kept. In namespaces of their own, so
 * that nothing is left on this machine; where it allows none, starts are slower, which is said.
 */
function fillCodeCaches(distribution: string): void {
  const own = ["--net", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"];
  const asRoot = process.getuid?.() === 0 ? [] : ["--map-root-user"];
  const inNamespaces = (...command: string[]) =>
    spawnSync("unshare", [...asRoot, ...own, ...command], {
      encoding: "utf8",
      timeout: 120_000,
      killSignal: "SIGKILL",
    });
  const { status, stderr: refusal } = inNamespaces("true");
  if (status !== 0) {
    console.error(`build: no namespaces for a trial run, so no code caches: starts take longer: ${refusal.trim()}`);
    return;
  }
  const run = inNamespaces(process.execPath, join(root, "deploy/distribution/warm-up.ts"), distribution);
  if (run.status !== 0) throw new Error(`the trial run of the built programs failed: ${run.stderr.trim()}`);
}

/** Addons (.node), programs and eBPF objects (.bpf.o); not the compiler's intermediate files. */
function copyNative(target: string): void {
  mkdirSync(target, { recursive: true });
  for (const folder of nativeFolders.map((name) => join(root, name)).filter(existsSync)) {
    for (const name of readdirSync(folder)) {
      const stat = statSync(join(folder, name));
      const isProgram = stat.isFile() && ((stat.mode & 0o111) !== 0 || name.endsWith(".bpf.o"));
      if (isProgram && !/(test|\.so\.dbg)$/.test(name)) copyFileSync(join(folder, name), join(target, name));
    }
  }
}

function copyIfThere(from: string, to: string): void {
  if (existsSync(from)) copyFileSync(from, to);
}

function writeStarters(folder: string): void {
  mkdirSync(folder);
  for (const name of programs) {
    const path = join(folder, name);
    // Node's own compile cache is of no use beside run.cjs's, and would go to /tmp.
    const env = { NODE_DISABLE_COMPILE_CACHE: "1", ...(name === "swarmd" ? lean.env : {}) };
    const flags = name === "swarmd" ? `${lean.flags.join(" ")} ` : "";
    const lines = [
      "#!/bin/sh",
      "self=$0",
      '[ ! -h "$0" ] || self=$(readlink -f "$0")',
      `lib=\${self%/*}/../lib`,
      ...Object.entries(env).map(([key, value]) => `export ${key}="${value}"`),
      `exec "$lib/node" ${flags}"$lib/run.cjs" ${name} "$@"`,
    ];
    writeFileSync(path, `${lines.join("\n")}\n`);
    chmodSync(path, 0o755);
  }
}

await main().catch((error: unknown) => {
  // esbuild has printed its errors with their places already.
  if (!(error instanceof Error && "errors" in error)) console.error(error);
  process.exitCode = 1;
});
