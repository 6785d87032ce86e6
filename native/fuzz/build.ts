/** Builds the fuzz targets: clang's libFuzzer with ASan and UBSan, or clang's coverage for reports by line. */
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { compile, librarySources, link, native } from "../sanitized.ts";

/** Whose sources the targets are linked with. */
const folders = ["base", "sys", "cgroup", "rootfs", "runtime", "oci", "shim", "unpack"];
/** Of net/, an addon with exceptions, what needs no Node. */
const ofNet = ["net/conntrack.cc", "net/netlink.cc", "net/ping.cc"];
const libraries = ["-lz", "-lzstd", "-lseccomp", "-lpthread"];

/** What a build is for: to search, or to tell which lines an input reaches. */
export type Purpose = "search" | "lines";
const instrumentation: Readonly<Record<Purpose, readonly string[]>> = {
  search: ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
  lines: ["-fprofile-instr-generate", "-fcoverage-mapping"],
};
/** Names of all targets. */
export function targetNames(): readonly string[] {
  return readdirSync(join(native, "fuzz", "targets"))
    .filter((name) => name.endsWith(".cc"))
    .map((name) => basename(name, ".cc"))
    .sort();
}

/** Builds `names`; where their programs are, in the same order. Throws when the compiler refuses something. */
export async function buildTargets(names: readonly string[], purpose: Purpose = "search"): Promise<readonly string[]> {
  const output = join("fuzz", purpose);
  const flags = ["-std=c++20", "-g", "-O1", "-fno-omit-frame-pointer", ...instrumentation[purpose]];
  const compiler = {
    command: "clang++",
    flags: [...flags, "-fsanitize=fuzzer-no-link"],
    output,
    folders: [...folders, "net", "fuzz/targets"],
  };
  const library = await compile(compiler, [...librarySources(folders), ...ofNet]);
  const archive = join(native, "build", output, "library.a");
  if (library.changed || !existsSync(archive)) link("ar", ["rcs", archive, ...library.objects]);
  const targets = await compile(
    compiler,
    names.map((name) => join("fuzz", "targets", `${name}.cc`)),
  );
  return names.map((name, i) => {
    const program = join(native, "build", output, name);
    if (library.changed || targets.changed || !existsSync(program)) {
      link("clang++", [...flags, "-fsanitize=fuzzer", targets.objects[i]!, archive, ...libraries, "-o", program]);
    }
    return program;
  });
}
