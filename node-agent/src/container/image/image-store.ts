import { randomUUID } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { unpackLayer } from "@starling/native";
import { BadImageError, type ImageConfig, parseImageConfig } from "./manifest.ts";

/** An image that is wholly on this host. */
export interface StoredImage {
  /** Digest of its manifest for this platform. */
  readonly digest: string;
  readonly config: ImageConfig;
  /** Folders of its layers, topmost first, as overlayfs counts them. */
  readonly layers: readonly string[];
}

/** A layer's uncompressed size at most: against archives that explode. */
const layerMaxBytes = 64 * 2 ** 30;

/**
 * Images on disk:
 *   layers/<diff id>/        an unpacked layer, complete (it got its name by a rename after its content was synced)
 *   configs/<digest>.json    an image's config, by the digest of the image's manifest
 *   refs/<reference>         the manifest digest that a reference was last resolved to
 *   tmp/                     what is being made; emptied at start
 */
export class ImageStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(): Promise<void> {
    await rm(join(this.#folder, "tmp"), { recursive: true, force: true });
    for (const name of ["layers", "configs", "refs", "tmp"]) await mkdir(join(this.#folder, name), { recursive: true });
  }

  /** The image with that manifest digest, if all of it is here. */
  async image(digest: string): Promise<StoredImage | undefined> {
    let config: ImageConfig;
    try {
      config = parseImageConfig(await readFile(this.#config(digest), "utf8"));
    } catch {
      // Absent or torn: pulled again.
      return undefined;
    }
    for (const diffId of config.diffIds) if (!(await this.hasLayer(diffId))) return undefined;
    return { digest, config, layers: config.diffIds.map((diffId) => this.#layer(diffId)).reverse() };
  }

  /** What `reference` was last resolved to. */
  async resolved(reference: string): Promise<string | undefined> {
    try {
      return (await readFile(this.#ref(reference), "utf8")).trim();
    } catch {
      return undefined;
    }
  }

  async setResolved(reference: string, digest: string): Promise<void> {
    await this.#replace(this.#ref(reference), `${digest}\n`);
  }

  async putConfig(digest: string, text: string): Promise<void> {
    await this.#replace(this.#config(digest), text);
  }

  async hasLayer(diffId: string): Promise<boolean> {
    try {
      await access(this.#layer(diffId));
      return true;
    } catch {
      return false;
    }
  }

  /** Unpacks a layer from the stream of its blob; keeps it only when both digests are the wanted ones. */
  async putLayer(
    source: Readable,
    wanted: { readonly digest: string; readonly diffId: string },
    signal: AbortSignal,
  ): Promise<void> {
    const temporary = join(this.#folder, "tmp", randomUUID());
    await mkdir(temporary);
    try {
      const layer = await unpackLayer(source, { folder: temporary, maxBytes: layerMaxBytes, signal });
      if (layer.digest !== wanted.digest) {
        throw new BadImageError(`layer ${wanted.digest}: the registry gave content with digest ${layer.digest}`);
      }
      if (layer.diffId !== wanted.diffId) {
        throw new BadImageError(`layer ${wanted.digest}: unpacks to ${layer.diffId}, its image says ${wanted.diffId}`);
      }
      await rename(temporary, this.#layer(wanted.diffId));
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      if (await this.hasLayer(wanted.diffId)) return;
      throw error;
    }
  }

  /** Digests of all images here. */
  async list(): Promise<readonly string[]> {
    const names = await readdir(join(this.#folder, "configs"));
    return names.filter((name) => name.endsWith(".json")).map((name) => `sha256:${name.slice(0, -".json".length)}`);
  }

  #layer(diffId: string): string {
    return join(this.#folder, "layers", hex(diffId));
  }

  #config(digest: string): string {
    return join(this.#folder, "configs", `${hex(digest)}.json`);
  }

  #ref(reference: string): string {
    return join(this.#folder, "refs", encodeURIComponent(reference));
  }

  async #replace(path: string, text: string): Promise<void> {
    const temporary = join(this.#folder, "tmp", randomUUID());
    await writeFile(temporary, text);
    await rename(temporary, path);
  }
}

/** Digests become file names: nothing but their hexadecimal digits. */
function hex(digest: string): string {
  const match = /^sha256:([0-9a-f]{64})$/.exec(digest);
  if (match === null) throw new BadImageError(`digest ${JSON.stringify(digest)}: only sha256 is supported`);
  return match[1]!;
}
