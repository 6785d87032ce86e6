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
import { build } from "esbuild";

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
    keepNames: true,
    legalComments: "linked",
    logLevel: "warning",
    // CommonJS packages inside the bundle ask for Node's own modules by require.
    banner: {
      js: 'import { createRequire as $createRequire } from "node:module"; const require = $createRequire(import.meta.url);',
    },
  });
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
    writeFileSync(
      path,
      `#!/bin/sh\nlib=$(dirname "$(readlink -f "$0")")/../lib\nexec "$lib/node" "$lib/${name}.mjs" "$@"\n`,
    );
    chmodSync(path, 0o755);
  }
}

await main().catch((error: unknown) => {
  // esbuild has printed its errors with their places already.
  if (!(error instanceof Error && "errors" in error)) console.error(error);
  process.exitCode = 1;
});
