/**
 * Builds the C++ tests with AddressSanitizer and UndefinedBehaviorSanitizer and runs them: `node native/test.ts`.
 * Objects are kept in build/test and made again when any source changed. Needs root (devices, trusted attributes).
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const native = dirname(fileURLToPath(import.meta.url));
const output = join(native, "build", "test");
const folders = ["base", "sys", "cgroup", "rootfs", "runtime", "oci", "shim", "unpack", "test"];
/** They have a `main` of their own. */
const programs = ["shim/main.cc", "unpack/main.cc"];
const flags = [
  ...["-std=c++20", "-g", "-O1", "-Wall", "-Wextra", "-Wshadow", "-fno-omit-frame-pointer"],
  ...["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
];

const files = folders.flatMap((folder) => readdirSync(join(native, folder)).map((name) => join(folder, name)));
/** Of oci/ only what reads foreign bytes is linked here; the rest is tested as a program. */
const isTested = (file: string) => !file.startsWith("oci/") || /config|mount_options/.test(file);
const headers = files.filter((file) => file.endsWith(".h")).sort();
const sources = files.filter((file) => file.endsWith(".cc") && !programs.includes(file) && isTested(file)).sort();

function hashOf(paths: readonly string[]): string {
  const hash = createHash("sha256").update(flags.join(" "));
  for (const path of paths) hash.update(path).update(readFileSync(join(native, path)));
  return hash.digest("hex");
}

function compile(source: string, object: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("g++", [...flags, "-c", source, "-o", object], { cwd: native, stdio: "inherit" });
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`native: g++ ${source} failed`))));
  });
}

mkdirSync(output, { recursive: true });
const headerHash = hashOf(headers);
const queue = sources.map((source) => ({
  source,
  object: join(output, source.replace(/\//g, "_").replace(/cc$/, "o")),
}));
const objects = queue.map(({ object }) => object);
let changed = false;
async function work(): Promise<void> {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const hash = headerHash + hashOf([next.source]);
    const stamp = `${next.object}.hash`;
    if (existsSync(next.object) && existsSync(stamp) && readFileSync(stamp, "utf8") === hash) continue;
    changed = true;
    await compile(next.source, next.object);
    writeFileSync(stamp, hash);
  }
}
await Promise.all([work(), work()]);
const program = join(output, "native-test");
if (changed || !existsSync(program)) {
  const linked = spawnSync("g++", [...flags, ...objects, "-lz", "-lzstd", "-lseccomp", "-o", program], {
    stdio: "inherit",
  });
  if (linked.status !== 0) throw new Error("native: linking the tests failed");
}
process.exitCode = spawnSync(program, [], { stdio: "inherit" }).status ?? 1;
