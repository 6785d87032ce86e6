import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** A file open for writing. */
export interface WritableFile {
  /** Writes all of `bytes` at `position`; durable when it resolves if the file was opened by `openSynced`. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Makes all that was written durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The file system as log and snapshots need it. Rejects with the system's errors (`code` "ENOSPC", "EIO", …). */
export interface Files {
  /** Makes `dir` and what is missing above it, private and durable. */
  makeDirectory(dir: string): Promise<void>;
  /** Names in `dir`; none when there is no such folder. */
  list(dir: string): Promise<string[]>;
  read(path: string): Promise<Buffer>;
  /** An empty, private file; what was there is gone. */
  create(path: string): Promise<WritableFile>;
  /** A file that exists, for writes that are durable when they resolve (O_DSYNC). */
  openSynced(path: string): Promise<WritableFile>;
  rename(from: string, to: string): Promise<void>;
  /** No error when it is gone already. */
  remove(path: string): Promise<void>;
  /** Makes the names in a folder durable: after creating, renaming or removing a file in it. */
  syncDirectory(dir: string): Promise<void>;
}

/** Is the disk (or the quota) full? Then waiting for room helps; any other failed write ends the node. */
export function isDiskFull(thrown: unknown): boolean {
  const code = (thrown as { readonly code?: unknown } | undefined)?.code;
  return code === "ENOSPC" || code === "EDQUOT";
}

/** This machine's file system. */
export const nodeFiles: Files = {
  async makeDirectory(dir) {
    const first = await mkdir(dir, { recursive: true, mode: 0o700 });
    if (first === undefined) return;
    for (let made = dir; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
  },
  async list(dir) {
    try {
      return await readdir(dir);
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw thrown;
    }
  },
  read: (path) => readFile(path),
  create: async (path) => new NodeFile(await open(path, "w", 0o600)),
  openSynced: async (path) => new NodeFile(await open(path, constants.O_RDWR | constants.O_DSYNC)),
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { force: true }),
  syncDirectory,
};

class NodeFile implements WritableFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  }

  sync(): Promise<void> {
    return this.#handle.sync();
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

async function syncDirectory(dir: string): Promise<void> {
  const handle = await open(dir, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
