/**
 * Builds the C++ tests with AddressSanitizer and UndefinedBehaviorSanitizer and runs them: `node native/test.ts`.
 * Needs root (devices, trusted attributes).
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { compile, librarySources, link, native } from "./sanitized.ts";

const folders = ["base", "sys", "cgroup", "rootfs", "runtime", "oci", "shim", "unpack", "test"];
const flags = [
  ...["-std=c++20", "-g", "-O1", "-Wall", "-Wextra", "-Wshadow", "-fno-omit-frame-pointer"],
  ...["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
];
/** Of oci/ only what reads foreign bytes is linked here; the rest is tested as a program. */
const isTested = (file: string) => !file.startsWith("oci/") || /config|mount_options/.test(file);

const compiled = await compile(
  { command: "g++", flags, output: "test", folders },
  librarySources(folders).filter(isTested),
);
const program = join(native, "build", "test", "native-test");
if (compiled.changed || !existsSync(program)) {
  link("g++", [...flags, ...compiled.objects, "-lz", "-lzstd", "-lseccomp", "-o", program]);
}
process.exitCode = spawnSync(program, [], { stdio: "inherit" }).status ?? 1;
