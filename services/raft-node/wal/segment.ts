import { constants } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncParent } from "../disk.ts";
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
export async function createSpare(dir: string, bytes: number): Promise<void> {
  const path = join(dir, spareName);
  const handle = await open(path, "w", 0o600);
  try {
    const zeros = Buffer.alloc(Math.min(bytes, fillBytes));
    for (let at = 0; at < bytes; at += zeros.length) {
      await writeFully(handle, zeros.subarray(0, Math.min(zeros.length, bytes - at)), at);
    }
    await handle.sync();
  } catch (thrown) {
    await handle.close();
    await rm(path, { force: true });
    throw thrown;
  }
  await handle.close();
}

/** Turns the spare into the segment that `header` describes, open for synced writes. Durable when it resolves. */
export async function activateSpare(dir: string, header: SegmentHeader): Promise<{ handle: FileHandle; path: string }> {
  const spare = join(dir, spareName);
  const path = join(dir, segmentName(header.firstSequence));
  const handle = await openSynced(spare);
  try {
    await writeFully(handle, encodeHeader(header), 0);
    await rename(spare, path);
    await syncParent(path);
  } catch (thrown) {
    await handle.close();
    throw thrown;
  }
  return { handle, path };
}

/** A handle whose every write is on disk when it resolves (O_DSYNC). */
export function openSynced(path: string): Promise<FileHandle> {
  return open(path, constants.O_RDWR | constants.O_DSYNC);
}

/** Writes all of `bytes` at `position`. */
export async function writeFully(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
