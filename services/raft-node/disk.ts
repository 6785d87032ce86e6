import { open } from "node:fs/promises";
import { dirname } from "node:path";

/** Makes the names in a folder durable: after creating, renaming or removing a file in it. */
export async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function syncParent(path: string): Promise<void> {
  return syncDirectory(dirname(path));
}

/** Is the disk (or the quota) full? Then waiting for room helps; any other failed write ends the node. */
export function isDiskFull(thrown: unknown): boolean {
  const code = (thrown as { readonly code?: unknown } | undefined)?.code;
  return code === "ENOSPC" || code === "EDQUOT";
}
