import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

export interface ProgramResult {
  /** Exit status, or 128 + the signal that ended it. */
  readonly code: number;
  /** What it wrote, the first 64 KiB of each. */
  readonly out: string;
  readonly err: string;
}

interface NativeAddon {
  runProgram(args: readonly string[]): Promise<ProgramResult>;
  trimMemory(): void;
}

let loaded: NativeAddon | undefined;

function addon(): NativeAddon {
  if (loaded !== undefined) return loaded;
  const path = fileURLToPath(new URL("build/Release/starling_binding.node", import.meta.url));
  if (!existsSync(path)) throw new Error(`${path} is not built: run \`node native/build.ts\``);
  loaded = createRequire(import.meta.url)(path) as NativeAddon;
  return loaded;
}

/**
 * Runs the program at `path` to its end, with no environment and nothing on stdin. child_process.spawn would hold up
 * Node's thread for as long as it takes to copy the page tables of a whole swarmd and to get to execve. Rejects when the
 * program cannot be started.
 */
export async function runProgram(path: string, args: readonly string[]): Promise<ProgramResult> {
  return await addon().runProgram([path, ...args]);
}

/** Gives the kernel back what the C library holds of freed memory: it does so by itself only at the end of its heap. Takes a few milliseconds. */
export function trimMemory(): void {
  addon().trimMemory();
}
