import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";

const source = join(import.meta.dirname, "kill-at.c");
const cacheFolder = join(import.meta.dirname, "../../../.cache");

/** Path of the program built from kill-at.c; compiled when its source changed. */
export function killAtTool(): string {
  const hash = createHash("sha256").update(readFileSync(source)).digest("hex").slice(0, 16);
  const path = join(cacheFolder, `test-kill-at-${hash}`);
  if (existsSync(path)) return path;
  mkdirSync(cacheFolder, { recursive: true });
  const unfinished = `${path}.${process.pid}`;
  execFileSync("gcc", ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-o", unfinished, source]);
  renameSync(unfinished, path);
  return path;
}
