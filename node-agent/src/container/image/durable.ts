import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

/**
 * Puts a file in place in one step: under another name in `tmp`, synced, renamed, its folder synced. Whoever reads sees
 * nothing, the old or the new content, after a power cut too. `tmp` is on the same file system.
 */
export async function writeDurably(path: string, content: string | Uint8Array, tmp: string): Promise<void> {
  const temporary = join(tmp, randomUUID());
  const file = await open(temporary, "wx", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
