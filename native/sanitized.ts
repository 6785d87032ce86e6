/**
 * Compiles C++ of native/ with sanitizers, for tests: each source once, and again only when it or a header changed. Objects
 * lie below build/, beside hashes of what they were made from.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** This folder. */
export const native = dirname(fileURLToPath(import.meta.url));

/** Compilers at a time. */
const jobs = 2;

/** They have a `main` of their own. */
const programs: readonly string[] = ["shim/main.cc", "unpack/main.cc"];

/** Sources of `folders` that can be linked into a test's program; paths from native/, sorted. */
export function librarySources(folders: readonly string[]): readonly string[] {
  return filesOf(folders, ".cc").filter((file) => !programs.includes(file));
}

export interface Compiler {
  /** Its name, and what it is given for each source. */
  readonly command: string;
  readonly flags: readonly string[];
  /** Folder of the objects, below build/. */
  readonly output: string;
  /** Folders whose headers count. */
  readonly folders: readonly string[];
}

export interface Compiled {
  readonly objects: readonly string[];
  /** Something was not as at the last time. */
  readonly changed: boolean;
}

/** Compiles `sources`, a few at a time. Throws when one fails; the compiler has said why. */
export async function compile(compiler: Compiler, sources: readonly string[]): Promise<Compiled> {
  const folder = join(native, "build", compiler.output);
  mkdirSync(folder, { recursive: true });
  const settings = [compiler.command, ...compiler.flags].join(" ");
  const headers = hashOf(settings, filesOf(compiler.folders, ".h"));
  const queue = sources.map((source) => ({ source, object: join(folder, `${source.replace(/[/.]/g, "_")}.o`) }));
  const objects = queue.map(({ object }) => object);
  let changed = false;
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const hash = hashOf(headers, [next.source]);
      const stamp = `${next.object}.hash`;
      if (existsSync(next.object) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) continue;
      changed = true;
      await run(compiler.command, [...compiler.flags, "-c", next.source, "-o", next.object]);
      writeFileSync(stamp, hash);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return { objects, changed };
}

/** Links what was compiled. Throws when that fails; the linker has said why. */
export function link(command: string, words: readonly string[]): void {
  const linked = spawnSync(command, words, { cwd: native, stdio: ["ignore", 2, 2] });
  if (linked.status !== 0) throw new Error(`native: ${command} could not link ${words.at(-1)}`);
}

function filesOf(folders: readonly string[], ending: string): readonly string[] {
  return folders
    .flatMap((folder) => readdirSync(join(native, folder)).map((name) => join(folder, name)))
    .filter((file) => file.endsWith(ending))
    .sort();
}

function hashOf(settings: string, paths: readonly string[]): string {
  const hash = createHash("sha256").update(settings);
  for (const path of paths) hash.update(`${path}\0`).update(readFileSync(join(native, path)));
  return hash.digest("hex");
}

function run(command: string, words: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { cwd: native, stdio: ["ignore", 2, 2] });
    child.on("error", reject);
    child.on("close", (code) =>
      code === 0 ? resolve() : reject(new Error(`native: ${command} ${words.join(" ")}: exit code ${code}`)),
    );
  });
}
