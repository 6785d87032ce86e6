/**
 * lib/run.cjs of a distribution: `node run.cjs PROGRAM ARGUMENTS…` runs PROGRAM.js and what it requires, with V8's code
 * caches in cache/. Node's own compile cache holds what is compiled while a file is loaded; these are taken at a
 * process's end and so hold each function that it has called: a third of the CPU time of a start is compilation.
 *
 * STARLING_CODE_CACHE, for the build alone: "write" renews the caches at the process's end, "check" ends the process with
 * an error when one is missing or not for this Node.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Script } from "node:vm";
import { letOldGenerationGrow, letYoungGenerationGrow } from "../../services/swarmd/heap-growth.ts";

const lib = __dirname;
const mode = process.env["STARLING_CODE_CACHE"];

interface Part {
  readonly exports: object;
}
type Wrapper = (exports: object, require: (name: string) => unknown, module: Part, file: string, dir: string) => void;

const parts = new Map<string, Part>();
const scripts = new Map<string, Script>();
const cacheOf = (name: string) => join(lib, "cache", `${name}.bin`);

/** What the part `./NAME` of the program, or a module of Node, exports. */
function load(name: string): unknown {
  if (!name.startsWith("./")) return process.getBuiltinModule(name) ?? createRequire(__filename)(name);
  const known = parts.get(name);
  if (known !== undefined) return known.exports;
  const file = join(lib, name);
  const part: Part = { exports: {} };
  parts.set(name, part);
  (compiled(name.slice(2), file).runInThisContext() as Wrapper)(part.exports, load, part, file, lib);
  return part.exports;
}

function compiled(name: string, filename: string): Script {
  const source = `(function (exports, require, module, __filename, __dirname) {${readFileSync(filename, "utf8")}\n})`;
  const cachedData = existsSync(cacheOf(name)) ? readFileSync(cacheOf(name)) : undefined;
  const script = new Script(source, { filename, ...(cachedData && { cachedData }) });
  if (mode === "check" && script.cachedDataRejected !== false)
    throw new Error(`no code cache of ${name} for this Node`);
  if (mode === "write") scripts.set(name, script);
  return script;
}

function writeCaches(): void {
  // V8 takes no cache that was made under other settings than those of a process that starts, which workers and managers change.
  letYoungGenerationGrow();
  letOldGenerationGrow();
  mkdirSync(join(lib, "cache"), { recursive: true });
  for (const [name, script] of scripts) writeFileSync(cacheOf(name), script.createCachedData());
}

if (mode === "write") process.on("exit", writeCaches);
const [program] = process.argv.splice(2, 1);
process.argv[1] = join(lib, `${program}.js`);
load(`./${program}.js`);
