import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "./paths.ts";
import { mustExec } from "./run.ts";

const source = join(import.meta.dirname, "host.c");
let built: Promise<string> | undefined;

/** Path of the program built from host.c; compiled (statically: it is the first process of hosts) when its source changed. */
export function hostTool(): Promise<string> {
  built ??= build();
  return built;
}

async function build(): Promise<string> {
  const hash = createHash("sha256").update(readFileSync(source)).digest("hex").slice(0, 16);
  const path = join(cacheFolder, `test-host-${hash}`);
  if (existsSync(path)) return path;
  mkdirSync(cacheFolder, { recursive: true });
  const unfinished = `${path}.${process.pid}`;
  await mustExec(["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-static", "-o", unfinished, source]);
  renameSync(unfinished, path);
  return path;
}
