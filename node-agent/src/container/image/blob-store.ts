import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, hexOf } from "@starling/registry";
import { syncFolder, writeDurably } from "./durable.ts";

/**
 * Content by its digest:
 *   blobs/sha256/<hex>    whole and synced before it got this name
 *   ingest/<hex>          the beginning of a blob that is being downloaded; only ever appended to
 */
export class BlobStore {
  readonly #folder: string;
  /** Told of each blob that is whole from now on. */
  onAdded: ((digest: string) => void) | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(): Promise<void> {
    for (const name of ["blobs/sha256", "ingest", "tmp"]) await mkdir(join(this.#folder, name), { recursive: true });
  }

  path(digest: string): string {
    return join(this.#folder, "blobs/sha256", hexOf(digest));
  }

  /** Where a download goes; what is there already counts. */
  ingestPath(digest: string): string {
    return join(this.#folder, "ingest", hexOf(digest));
  }

  async ingested(digest: string): Promise<number> {
    return (await sizeOf(this.ingestPath(digest))) ?? 0;
  }

  async has(digest: string): Promise<boolean> {
    return (await sizeOf(this.path(digest))) !== undefined;
  }

  /** A small blob (manifest, config); undefined when it is not here, or damaged, and then it goes. */
  async read(digest: string): Promise<Buffer | undefined> {
    try {
      const bytes = await readFile(this.path(digest));
      if (digestOf(bytes) === digest) return bytes;
      await rm(this.path(digest), { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    return undefined;
  }

  /** Keeps a small blob whose digest the caller has checked. */
  async put(digest: string, bytes: Uint8Array): Promise<void> {
    if (!(await this.has(digest))) await writeDurably(this.path(digest), bytes, join(this.#folder, "tmp"));
    this.onAdded?.(digest);
  }

  /** A download is whole, its digest checked, its content on the disk. */
  async commit(digest: string): Promise<void> {
    try {
      await rename(this.ingestPath(digest), this.path(digest));
    } catch (error) {
      // Another one brought it in the meantime.
      if (!(await this.has(digest))) throw error;
    }
    await syncFolder(join(this.#folder, "blobs/sha256"));
    this.onAdded?.(digest);
  }

  async dropIngest(digest: string): Promise<void> {
    await rm(this.ingestPath(digest), { force: true });
  }

  async remove(digest: string): Promise<void> {
    await rm(this.path(digest), { force: true });
  }

  /** A whole file of `tmp` whose digest the caller has checked becomes this blob. */
  async adopt(digest: string, file: string): Promise<void> {
    if (await this.has(digest)) return;
    await rename(file, this.path(digest));
    await syncFolder(join(this.#folder, "blobs/sha256"));
    this.onAdded?.(digest);
  }

  /** Bytes of a blob; undefined when it is not here. */
  size(digest: string): Promise<number | undefined> {
    return sizeOf(this.path(digest));
  }

  async list(): Promise<readonly string[]> {
    return (await readdir(join(this.#folder, "blobs/sha256"))).map((name) => `sha256:${name}`);
  }

  /** Digests of blobs whose download has begun. */
  async listIngest(): Promise<readonly string[]> {
    return (await readdir(join(this.#folder, "ingest"))).map((name) => `sha256:${name}`);
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch {
    return undefined;
  }
}
