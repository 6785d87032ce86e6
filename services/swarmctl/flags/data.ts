import { readFile } from "node:fs/promises";
import type { Context } from "../context.ts";
import { UsageError } from "../usage-error.ts";

/** A file's bytes; standard input's when the path is missing or `-`. Throws UsageError when it can't be read. */
export async function readData(context: Context, path: string | undefined): Promise<Uint8Array> {
  if (path === undefined || path === "-") return context.readInput();
  try {
    return await readFile(path);
  } catch (thrown) {
    throw new UsageError(`cannot read the file: ${(thrown as Error).message}`);
  }
}
