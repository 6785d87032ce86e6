import { dirname, join } from "node:path";
import type { Files, WritableFile } from "../disk.ts";
import { encodeHeader, type SegmentHeader } from "./format.ts";

const fillBytes = 1024 * 1024;
export const spareName = "spare.tmp";

/** `00000000000000a1.wal`: the sequence of its first frame, so that names sort in log order. */
export function segmentName(firstSequence: number): string {
  return `${firstSequence.toString(16).padStart(16, "0")}.wal`;
}

export function isSegmentName(name: string): boolean {
  return /^[0-9a-f]{16}\.wal$/.test(name);
}

/**
 * Writes zeros over a new file, so that later synced writes change no metadata and cannot run out of space. Leaves
 * nothing behind when it fails.
 */
export async function createSpare(files: Files, dir: string, bytes: number): Promise<void> {
  const path = join(dir, spareName);
  const file = await files.create(path);
  try {
    const zeros = Buffer.alloc(Math.min(bytes, fillBytes));
    for (let at = 0; at < bytes; at += zeros.length) {
      await file.write(zeros.subarray(0, Math.min(zeros.length, bytes - at)), at);
    }
    await file.sync();
  } catch (thrown) {
    await file.close();
    await files.remove(path);
    throw thrown;
  }
  await file.close();
}

/** Turns the spare into the segment that `header` describes, open for synced writes. Durable when it resolves. */
export async function activateSpare(
  files: Files,
  dir: string,
  header: SegmentHeader,
): Promise<{ readonly file: WritableFile; readonly path: string }> {
  const spare = join(dir, spareName);
  const path = join(dir, segmentName(header.firstSequence));
  const file = await files.openSynced(spare);
  try {
    await file.write(encodeHeader(header), 0);
    await files.rename(spare, path);
    await files.syncDirectory(dirname(path));
  } catch (thrown) {
    await file.close();
    throw thrown;
  }
  return { file, path };
}
