/**
 * Native's tests of whole containers with instrumented programs: `node native/test-programs.ts [TEST FILE…]`.
 * starling-run and starling-shim get ASan and UBSan. starling-unpack gets UBSan's traps alone: its bound of memory (1 GiB of
 * addresses) and its filter of system calls leave ASan no place; what it reads is under ASan in test.ts and fuzz/.
 * Needs root, and Node's own folder first in PATH as everything here.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { compile, librarySources, link, native } from "./sanitized.ts";

const library = ["base", "sys", "cgroup", "rootfs", "runtime"];
const common = ["-std=c++20", "-g", "-O1", "-fno-omit-frame-pointer"];
const addresses = [...common, "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const traps = [...common, "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"];
const output = join(native, "build", "instrumented");
const reports = join(output, "reports");

/**
 * Tests that say nothing of instrumented programs: of memory that is a shim's own, and of the program's file run in a container's
 * root, which lacks the sanitizers' libraries.
 */
const others = ["the shim's memory", "cannot be written by a container that gets hold of it"];

interface Program {
  readonly name: string;
  readonly folders: readonly string[];
  /** Has a `main`, which librarySources leaves out. */
  readonly main?: string;
  readonly flags: readonly string[];
  readonly libraries: readonly string[];
}
const programs: readonly Program[] = [
  { name: "starling-run", folders: ["oci", "tools/run"], flags: addresses, libraries: ["-lseccomp"] },
  { name: "starling-shim", folders: ["shim"], main: "shim/main.cc", flags: addresses, libraries: [] },
  {
    name: "starling-unpack",
    folders: ["unpack"],
    main: "unpack/main.cc",
    flags: [...traps, "-static"],
    libraries: ["-lz", "-lzstd"],
  },
];

async function build(program: Program): Promise<void> {
  const folders = [...library, ...program.folders];
  const sources = [...librarySources(folders), ...(program.main === undefined ? [] : [program.main])];
  const where = program.flags.includes("-static") ? "traps" : "addresses";
  const all = [...library, "oci", "tools/run", "shim", "unpack"];
  const flags = [...program.flags, `-DSTARLING_REPORTS="${reports}/report"`];
  const compiler = { command: "g++", flags, output: join("instrumented", where), folders: all };
  const extra = where === "addresses" ? ["test/programs/options.cc"] : [];
  const { objects } = await compile(compiler, [...sources, ...extra]);
  link("g++", [...program.flags, ...objects, ...program.libraries, "-lpthread", "-o", join(output, program.name)]);
}

for (const program of programs) await build(program);
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });
const files = process.argv.length > 2 ? process.argv.slice(2) : ["native/oci", "native/shim"];
const pattern = `^(?!.*(${others.join("|")}))`;
const tested = spawnSync("vitest", ["run", "--project", "hosts", "--testNamePattern", pattern, ...files], {
  cwd: join(native, ".."),
  stdio: "inherit",
  env: { ...process.env, STARLING_NATIVE_TOOLS: output },
});
const found = readdirSync(reports);
for (const report of found) console.log(readFileSync(join(reports, report), "utf8"));
console.log(`${found.length} reports of sanitizers`);
process.exitCode = tested.status === 0 && found.length === 0 ? 0 : 1;
