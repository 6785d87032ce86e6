import { mkdir, readdir, readFile, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { digestOf, hexOf, type ImageConfig, parseImageConfig } from "@starling/registry";
import { BlobStore } from "./blob-store.ts";
import { writeDurably } from "./durable.ts";
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
interface ReferenceRecord {
  readonly version: 1;
  readonly reference: string;
  readonly digest: string;
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
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.blobs = new BlobStore(folder);
    this.layers = new LayerStore(folder);
  }

  async open(): Promise<void> {
    await rm(this.#tmp, { recursive: true, force: true });
    for (const name of ["images", "refs", "tmp"]) await mkdir(join(this.#folder, name), { recursive: true });
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
    await writeDurably(this.#image(digest), JSON.stringify(record), this.#tmp);
  }

  /** The image is wanted now: what was wanted long ago is removed first. */
  async touch(digest: string, nowMs: number): Promise<void> {
    await utimes(this.#image(digest), nowMs / 1000, nowMs / 1000);
  }

  /** What `reference` was last resolved to. */
  async resolved(reference: string): Promise<string | undefined> {
    try {
      return (JSON.parse(await readFile(this.#ref(reference), "utf8")) as ReferenceRecord).digest;
    } catch {
      return undefined;
    }
  }

  async setResolved(reference: string, digest: string): Promise<void> {
    const record: ReferenceRecord = { version: 1, reference, digest };
    await writeDurably(this.#ref(reference), JSON.stringify(record), this.#tmp);
  }

  /** Digests of all images here. */
  async list(): Promise<readonly string[]> {
    const names = await readdir(join(this.#folder, "images"));
    return names.filter((name) => name.endsWith(".json")).map((name) => `sha256:${name.slice(0, -".json".length)}`);
  }

  get #tmp(): string {
    return join(this.#folder, "tmp");
  }

  #image(digest: string): string {
    return join(this.#folder, "images", `${hexOf(digest)}.json`);
  }

  #ref(reference: string): string {
    // References may be longer than file names.
    return join(this.#folder, "refs", `${hexOf(digestOf(Buffer.from(reference)))}.json`);
  }
}
