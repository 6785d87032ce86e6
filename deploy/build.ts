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
import { isBuiltin } from "node:module";
import { join, resolve } from "node:path";
import { build, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");
const dist = resolve(process.argv[2] ?? join(root, "dist"));
const programs = ["swarmd", "swarmctl"];

/** Where compiled programs and addons are, and where code that looks for them beside itself finds them in dist/. */
const nativeFolders = ["native/build/Release", "native/binding/build/Release", "native/net/build/Release"];

/**
 * `npm run build`: dist/bin/swarmd and dist/bin/swarmctl, which need no npm, no node_modules and no Node of the machine.
 *
 *     dist/bin/PROGRAM           starts lib/node with lib/PROGRAM.mjs
 *     dist/lib/node              Node 24
 *     dist/lib/PROGRAM.mjs, *.mjs  bundles; parts that are loaded on demand are files of their own
 *     dist/lib/cache             V8's code cache of the bundles: half of a start would be compilation
 *     dist/lib/build/Release/    addons, shim and helpers
 *     dist/lib/check-host.sh     `swarmd --check`
 *
 * dist/, or the folder that is named on the command line, is replaced as a whole, at the end.
 */
async function main(): Promise<void> {
  const unfinished = `${dist}.${process.pid}`;
  rmSync(unfinished, { recursive: true, force: true });
  try {
    await bundle(join(unfinished, "lib"));
    copyNative(join(unfinished, "lib/build/Release"));
    copyFileSync(process.execPath, join(unfinished, "lib/node"));
    copyFileSync(join(root, "deploy/check-host.sh"), join(unfinished, "lib/check-host.sh"));
    for (const file of ["LICENSE", "README.md"]) copyIfThere(join(root, file), join(unfinished, file));
    fillCodeCache(join(unfinished, "lib"));
    writeStarters(join(unfinished, "bin"));
    rmSync(dist, { recursive: true, force: true });
    renameSync(unfinished, dist);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

async function bundle(outdir: string): Promise<void> {
  await build({
    entryPoints: programs.map((name) => ({ in: join(root, `services/${name}/main.ts`), out: name })),
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    // Names stay: traces of errors are read by people.
    minifyWhitespace: true,
    minifySyntax: true,
    plugins: [builtinsByName],
    legalComments: "linked",
    logLevel: "warning",
    // CommonJS packages inside the bundle ask for Node's own modules by require.
    banner: {
      js: 'import { createRequire as $createRequire } from "node:module"; const require = $createRequire(import.meta.url);',
    },
  });
}

/**
 * Node's own modules by `process.getBuiltinModule`, not by import: to import one reads all that it exports, and
 * `http.WebSocket` alone loads a web client of 10 MB.
 */
const builtinsByName: Plugin = {
  name: "builtins-by-name",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[a-z]/ }, ({ path, kind }) => {
      if (kind === "entry-point" || !isBuiltin(path)) return undefined;
      return { path: path.replace(/^node:/, ""), namespace: "builtin" };
    });
    onLoad({ filter: /^/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(`node:${path}`)});`,
    }));
  },
};

/**
 * A daemon that waits most of the time: a young generation of 2 MiB a half instead of 16 (a worker takes 13 MiB less
 * under load), few malloc arenas though many short-lived threads allocate, and freed memory goes back to the kernel. More
 * threads for files than Node's four, so that raft's log does not queue behind those of containers.
 */
const lean = {
  flags: ["--max-semi-space-size=2"],
  env: { MALLOC_ARENA_MAX: "2", MALLOC_TRIM_THRESHOLD_: "262144", UV_THREADPOOL_SIZE: "8" },
};

/** Loads every bundle that is not a program, and so compiles what runs at a start. */
function fillCodeCache(lib: string): void {
  const parts = readdirSync(lib).filter((name) => name.endsWith(".mjs") && !programs.includes(name.slice(0, -4)));
  const script = `for (const part of ${JSON.stringify(parts.map((name) => join(lib, name)))}) await import(part);`;
  const env = { ...process.env, ...codeCache(join(lib, "cache")) };
  const { status, stderr } = spawnSync(join(lib, "node"), ["--input-type=module", "-e", script], {
    env,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`the bundles cannot be loaded:\n${stderr}`);
}

/** Where Node keeps compiled code; "portable": found again when the folder has moved. */
function codeCache(folder: string): Readonly<Record<string, string>> {
  return { NODE_COMPILE_CACHE: folder, NODE_COMPILE_CACHE_PORTABLE: "1" };
}

/** Addons (.node) and programs; not the compiler's intermediate files. */
function copyNative(target: string): void {
  mkdirSync(target, { recursive: true });
  for (const folder of nativeFolders.map((name) => join(root, name)).filter(existsSync)) {
    for (const name of readdirSync(folder)) {
      const stat = statSync(join(folder, name));
      const isProgram = stat.isFile() && (stat.mode & 0o111) !== 0;
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
    const env = { ...codeCache("$lib/cache"), ...(name === "swarmd" ? lean.env : {}) };
    const flags = name === "swarmd" ? `${lean.flags.join(" ")} ` : "";
    const lines = [
      "#!/bin/sh",
      "self=$0",
      '[ ! -h "$0" ] || self=$(readlink -f "$0")',
      `lib=\${self%/*}/../lib`,
      ...Object.entries(env).map(([key, value]) => `export ${key}="${value}"`),
      `exec "$lib/node" ${flags}"$lib/${name}.mjs" "$@"`,
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
