/** Which lines of native/ the inputs of fuzz targets reach: by clang's coverage of the seeds and what was found since. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { native } from "../sanitized.ts";
import { buildTargets } from "./build.ts";
import { foundBy, seedsOf } from "./run.ts";

/** Prints a table of files and the lines that each target's inputs reach. Returns an exit code. */
export async function printLines(names: readonly string[]): Promise<number> {
  const folder = join(native, "build", "fuzz", "lines");
  const programs = await buildTargets(names, "lines");
  mkdirSync(folder, { recursive: true });
  for (const [i, name] of names.entries()) {
    const raw = join(folder, `${name}.profraw`);
    const inputs = [seedsOf(name), foundBy(name)].filter((path) => existsSync(path));
    // Without a search: every input once.
    spawnSync(programs[i]!, ["-runs=0", ...inputs], {
      env: { ...process.env, LLVM_PROFILE_FILE: raw },
      stdio: "ignore",
    });
    const data = join(folder, `${name}.profdata`);
    const merged = tool("llvm-profdata", ["merge", "-sparse", raw, "-o", data]);
    if (merged.status !== 0) return 1;
    console.log(`\n${name}`);
    const report = tool("llvm-cov", [
      "report",
      programs[i]!,
      `-instr-profile=${data}`,
      "-ignore-filename-regex=/usr/|fuzz/",
    ]);
    console.log(summaryOf(report.stdout));
    if (report.status !== 0) return 1;
  }
  return 0;
}

/** File, lines and the share of them that was reached, of llvm-cov's table; files that were not reached at all are left out. */
export function summaryOf(report: string): string {
  return report
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields.length >= 10 && /%$/.test(fields[9] ?? "") && fields[9] !== "0.00%")
    .map(
      (fields) =>
        `  ${(fields[0] ?? "").padEnd(28)} ${(fields[7] ?? "").padStart(5)} lines  ${(fields[9] ?? "").padStart(7)}`,
    )
    .join("\n");
}

function tool(command: string, words: readonly string[]) {
  const done = spawnSync(command, words, { encoding: "utf8" });
  if (done.status !== 0) console.error(`fuzz: ${command} (Debian: llvm): ${done.stderr}`);
  return done;
}
