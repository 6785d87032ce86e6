import { statfs } from "node:fs/promises";

export interface DiskSpace {
  /** Bytes that may still be written, and that there are in all. */
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** Of the file system that holds `folder`. */
export async function diskSpace(folder: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** Whether an error, perhaps of a helper process, says that a disk or a quota is full. */
export function isDiskFull(error: unknown): boolean {
  return /\b(ENOSPC|EDQUOT)\b/.test(error instanceof Error ? error.message : String(error));
}

/** "no space left in /var/lib/swarmd/images (3.1 MiB free of 10.0 GiB)". */
export async function describeFullDisk(folder: string): Promise<string> {
  const { freeBytes, totalBytes } = await diskSpace(folder);
  return `no space left in ${folder} (${formatBytes(freeBytes)} free of ${formatBytes(totalBytes)})`;
}

export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${power === 0 ? bytes : (bytes / 2 ** (10 * power)).toFixed(1)} ${units[power]}`;
}
