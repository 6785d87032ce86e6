/** Runs one fuzz target and reads what libFuzzer says of it. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../sanitized.ts";

export interface Run {
  readonly name: string;
  readonly program: string;
  readonly seconds: number;
  readonly seed: number;
}

export interface Coverage {
  readonly edges: number;
  readonly features: number;
  /** Inputs that each reach something that no other one does. */
  readonly corpus: number;
  readonly executions: number;
}

export type Outcome =
  | { readonly t: "clean"; readonly coverage: Coverage }
  /** `input`: the file that makes it fail again; none when it failed before or beside an input. */
  | { readonly t: "failed"; readonly report: string; readonly input: string | undefined };

/** Where a target's seeds are, committed; and what earlier runs found besides. */
export const seedsOf = (name: string) => join(native, "fuzz", "corpus", name);
export const foundBy = (name: string) => join(native, "build", "fuzz", "found", name);

/** Sources whose words (string literals) an input of the target may hold. */
const vocabulary: Readonly<Record<string, readonly string[]>> = {
  messages: ["runtime/spec.cc", "shim/requests.cc", "shim/clients.cc", "shim/operations.cc"],
  oci: [
    ...["oci/config.cc", "oci/config_linux.cc", "oci/config_process.cc", "oci/config_resources.cc"],
    ...["oci/seccomp_config.cc", "oci/mount_options.cc"],
  ],
  pax: ["unpack/pax.cc", "unpack/sparse.cc"],
  spec: ["runtime/spec.cc"],
  tar: ["unpack/pax.cc", "unpack/sparse.cc"],
  texts: ["cgroup/paths.cc", "oci/mount_options.cc"],
};

/** The words of C++ text, as lines of a libFuzzer dictionary. Pure. */
export function dictionaryOf(source: string): readonly string[] {
  const words = [...source.matchAll(/"((?:[A-Za-z_][A-Za-z0-9_.]*)=?)"/g)].map(([, word]) => word ?? "");
  return [...new Set(words)].filter((word) => word.length > 1 && !word.endsWith(".h")).map((word) => `"${word}"`);
}

/** What libFuzzer's output tells of its search; undefined when it did not come that far. Pure. */
export function coverageOf(output: string): Coverage | undefined {
  const status = [...output.matchAll(/^#(\d+)\s.*\bcov: (\d+) ft: (\d+) corp: (\d+)/gm)].at(-1);
  if (status === undefined) return undefined;
  const [, executions, edges, features, corpus] = status.map(Number);
  return { executions: executions!, edges: edges!, features: features!, corpus: corpus! };
}

/** Searches for `seconds`. Inputs that reach something new are kept for later runs. */
export async function search(run: Run): Promise<Outcome> {
  const found = foundBy(run.name);
  const crashes = join(native, "build", "fuzz", "crashes");
  for (const folder of [found, crashes]) mkdirSync(folder, { recursive: true });
  const words = [
    ...[`-seed=${run.seed}`, `-max_total_time=${run.seconds}`, "-max_len=16384", "-timeout=20", "-rss_limit_mb=1024"],
    ...["-print_final_stats=1", `-artifact_prefix=${crashes}/${run.name}-`, ...dictionaryWords(run.name)],
    ...[found, seedsOf(run.name)],
  ];
  const { code, output } = await runProgram(run.program, words, run.seconds + 120);
  const coverage = coverageOf(output);
  if (code === 0 && coverage !== undefined) return { t: "clean", coverage };
  const input = /Test unit written to (\S+)/.exec(output)?.[1];
  return { t: "failed", report: endOf(output), input };
}

/** Runs the target with one input. */
export function replay(program: string, input: string): Promise<{ readonly code: number; readonly output: string }> {
  return runProgram(program, [input], 120);
}

function dictionaryWords(name: string): readonly string[] {
  const lines = (vocabulary[name] ?? []).flatMap((file) => dictionaryOf(readFileSync(join(native, file), "utf8")));
  if (lines.length === 0) return [];
  const path = join(native, "build", "fuzz", `${name}.dict`);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return [`-dict=${path}`];
}

/** The report of a failure and what stands around it. */
function endOf(output: string): string {
  const start = output.search(/^(==\d+==ERROR|.*runtime error:|broken promise:)/m);
  return start < 0 ? output.slice(-4_000) : output.slice(start, start + 4_000);
}

function runProgram(program: string, words: readonly string[], budgetSeconds: number) {
  return new Promise<{ code: number; output: string }>((resolve, reject) => {
    const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"], env: environment() });
    let output = "";
    const take = (data: Buffer) => {
      output = (output + data.toString("latin1")).slice(-1_000_000);
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    const timer = setTimeout(() => child.kill("SIGKILL"), budgetSeconds * 1000);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? -1, output });
    });
  });
}

function environment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    UBSAN_OPTIONS: "print_stacktrace=1",
    ASAN_OPTIONS: "detect_leaks=1:allocator_may_return_null=0",
  };
}

/** Files of the committed seeds. */
export function seedFiles(name: string): readonly string[] {
  const folder = seedsOf(name);
  return existsSync(folder) ? readdirSync(folder).map((file) => join(folder, file)) : [];
}
