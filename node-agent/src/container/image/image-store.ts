import { mkdir, readdir, readFile, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, hexOf, type ImageConfig, parseImageConfig } from "@starling/registry";
import { BlobStore } from "./blob-store.ts";
import { syncFolder, writeDurably } from "./durable.ts";
import { ImageGuard } from "./image-guard.ts";
import { LayerStore } from "./layer-store.ts";

/** An image that is wholly on this host. */
export interface StoredImage {
  /** Digest of its manifest for this platform. */
  readonly digest: string;
  readonly config: ImageConfig;
  /** Folders of its layers, topmost first, as overlayfs counts them; each once. */
  readonly layers: readonly string[];
}

/** What images/<digest> holds. */
export interface ImageRecord {
  readonly version: 1;
  readonly config: string;
  /** Blobs of its layers and the folders they were unpacked to, lowest first. */
  readonly layers: readonly { readonly blob: string; readonly folder: string }[];
}

/** What refs/<digest of the reference>.json holds. */
export interface ReferenceRecord {
  readonly version: 1;
  readonly reference: string;
  readonly digest: string;
  /** An archive gave it: it means this image until it is removed, and no registry is asked. */
  readonly loaded?: boolean;
}

/**
 * Images on disk (README.md has the whole layout):
 *   images/<digest>.json   the image with that manifest is whole: written last, when all it names is here
 *   refs/<sha256>.json     the manifest digest that a reference was last resolved to
 *   tmp/                   what is being made; emptied at start
 */
export class ImageStore {
  readonly blobs: BlobStore;
  readonly layers: LayerStore;
  /** Between those who use images and those who remove them. */
  readonly guard = new ImageGuard();
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    this.blobs = new BlobStore(folder);
    this.layers = new LayerStore(folder);
  }

  async open(): Promise<void> {
    await rm(this.tmp, { recursive: true, force: true });
    for (const name of ["images", "refs", "tmp"]) await mkdir(join(this.folder, name), { recursive: true });
    await this.blobs.open();
    await this.layers.open();
  }

  /** The image with that manifest digest, if all of it is here. */
  async image(digest: string): Promise<StoredImage | undefined> {
    const record = await this.record(digest);
    if (record === undefined) return undefined;
    for (const { folder } of record.layers) if (!(await this.layers.has(folder))) return undefined;
    const configText = await this.blobs.read(record.config);
    if (configText === undefined) return undefined;
    const folders = [...new Set(record.layers.map(({ folder }) => folder).reverse())];
    const config = parseImageConfig(configText.toString("utf8"));
    return { digest, config, layers: folders.map((folder) => this.layers.path(folder)) };
  }

  async record(digest: string): Promise<ImageRecord | undefined> {
    try {
      const record = JSON.parse(await readFile(this.#image(digest), "utf8")) as ImageRecord;
      return record.version === 1 ? record : undefined;
    } catch {
      // Absent or of another version: pulled again.
      return undefined;
    }
  }

  /** The image is whole from here on. */
  async putImage(digest: string, record: ImageRecord): Promise<void> {
    await writeDurably(this.#image(digest), JSON.stringify(record), this.tmp);
  }

  /** The image is wanted now: what was wanted long ago is removed first. */
  async touch(digest: string, nowMs: number): Promise<void> {
    await utimes(this.#image(digest), nowMs / 1000, nowMs / 1000);
  }

  /** When the image was last wanted; 0 when it is not here. */
  async usedAtMs(digest: string): Promise<number> {
    return await stat(this.#image(digest)).then(
      ({ mtimeMs }) => mtimeMs,
      () => 0,
    );
  }

  /** What `reference` was last resolved to. */
  async resolved(reference: string): Promise<string | undefined> {
    return (await this.reference(reference))?.digest;
  }

  async reference(reference: string): Promise<ReferenceRecord | undefined> {
    return readReference(this.#ref(reference));
  }

  async setResolved(reference: string, digest: string, options: { readonly loaded?: boolean } = {}): Promise<void> {
    const record: ReferenceRecord = { version: 1, reference, digest, ...(options.loaded ? { loaded: true } : {}) };
    await writeDurably(this.#ref(reference), JSON.stringify(record), this.tmp);
  }

  /** All references that mean something here. */
  async references(): Promise<readonly ReferenceRecord[]> {
    const names = await readdir(join(this.folder, "refs"));
    const records = await Promise.all(names.map((name) => readReference(join(this.folder, "refs", name))));
    return records.filter((record) => record !== undefined);
  }

  /** Forgets references, then images; on the disk when it resolves. What they name is nobody's then. */
  async forget(references: readonly string[], digests: readonly string[]): Promise<void> {
    for (const reference of references) await rm(this.#ref(reference), { force: true });
    if (references.length > 0) await syncFolder(join(this.folder, "refs"));
    for (const digest of digests) await rm(this.#image(digest), { force: true });
    if (digests.length > 0) await syncFolder(join(this.folder, "images"));
  }

  /** Digests of all images here. */
  async list(): Promise<readonly string[]> {
    const names = await readdir(join(this.folder, "images"));
    return names.filter((name) => name.endsWith(".json")).map((name) => `sha256:${name.slice(0, -".json".length)}`);
  }

  /** For what is being made, on the same file system. */
  get tmp(): string {
    return join(this.folder, "tmp");
  }

  #image(digest: string): string {
    return join(this.folder, "images", `${hexOf(digest)}.json`);
  }

  #ref(reference: string): string {
    // References may be longer than file names.
    return join(this.folder, "refs", `${hexOf(digestOf(Buffer.from(reference)))}.json`);
  }
}

async function readReference(path: string): Promise<ReferenceRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(path, "utf8")) as ReferenceRecord;
    return record.version === 1 ? record : undefined;
  } catch {
    // Absent or torn: resolved anew.
    return undefined;
  }
}
