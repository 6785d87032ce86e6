/**
 * Builds native/ with node-gyp: `node native/build.ts [--force]`. Targets land in build/Release. Folders with a
 * binding.gyp of their own (binding/, net/) are built too. A folder whose sources are those of its last build is skipped.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const native = dirname(fileURLToPath(import.meta.url));
const root = dirname(native);
const stampName = "sources.sha256";

function sourcesBelow(folder: string, skip: readonly string[]): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return skip.includes(entry.name) ? [] : sourcesBelow(path, skip);
      return /\.(bpf\.c|cc|h|gyp|gypi)$/.test(entry.name) ? [path] : [];
    })
    .sort();
}

function hashOf(paths: readonly string[]): string {
  const hash = createHash("sha256").update(process.version);
  for (const path of paths) hash.update(`${path}\0`).update(readFileSync(path)).update("\0");
  return hash.digest("hex");
}

/** Builds one folder when its sources changed. Throws with node-gyp's output when that fails. */
function build(folder: string, options: { readonly skip: readonly string[]; readonly force: boolean }): void {
  const hash = hashOf(sourcesBelow(folder, options.skip));
  const stamp = join(folder, "build", stampName);
  if (!options.force && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return;
  const nodedir = join(root, "node_modules", `node-linux-${process.arch}`);
  if (!existsSync(join(nodedir, "include", "node", "node_api.h"))) {
    throw new Error(`native: Node's headers are missing at ${nodedir}: run npm ci`);
  }
  const nodeGyp = join(root, "node_modules", "node-gyp", "bin", "node-gyp.js");
  for (const step of [["configure"], ["build", "--jobs", "2"]]) {
    const done = spawnSync(process.execPath, [nodeGyp, ...step, `--nodedir=${nodedir}`, "--loglevel=error"], {
      cwd: folder,
      encoding: "utf8",
      env: withoutNpmSettings(),
    });
    if (done.status !== 0) throw new Error(`native: node-gyp ${step[0]} in ${folder}:\n${done.stdout}${done.stderr}`);
  }
  writeFileSync(stamp, hash);
}

/** npm hands its settings down, and node-gyp would take a user's nodedir from there rather than ours. */
function withoutNpmSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_config_/i.test(name)));
}

const force = process.argv.includes("--force");
const addons = ["binding", "net"];
build(native, { skip: ["build", "node_modules", ...addons], force });
for (const addon of addons) build(join(native, addon), { skip: ["build"], force });
