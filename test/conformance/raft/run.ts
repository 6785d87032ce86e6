// Runs etcd-raft's data-driven files below a folder that holds testdata/, quorum/testdata/ and confchange/testdata/.
// Exit status: 0 all passed, 1 some failed, 2 nothing to run.
import { existsSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { runFolder, suites } from "./suites.ts";

/** Run the command; returns its exit status. */
export function main(args: readonly string[], print: (line: string) => void): number {
  const repo = resolve(import.meta.dirname, "../../..");
  const shared = resolve(repo, process.env["STARLING_SHARED"] ?? "../shared");
  const folder = args[0] ?? join(shared, "raft-testdata");
  if (args.length > 1 || folder.startsWith("-")) {
    print("usage: npm run raft:conformance -- [FOLDER]");
    return 2;
  }
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    print(`raft:conformance: ${folder} is not a folder; give one that holds ${suites[0]!.folder}/`);
    return 2;
  }
  let passed = 0;
  let failed = 0;
  for (const { file, failure } of runFolder(folder)) {
    if (failure === undefined) {
      passed++;
      print(`ok   ${file}`);
    } else {
      failed++;
      print(`FAIL ${file}:${failure.line}: ${failure.why}`);
    }
  }
  if (passed + failed === 0) {
    print(`raft:conformance: no files in ${folder}; looked in ${suites.map((s) => `${s.folder}/`).join(", ")}`);
    return 2;
  }
  print(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2), console.log);
