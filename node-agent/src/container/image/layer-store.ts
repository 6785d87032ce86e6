import { randomUUID } from "node:crypto";
import { access, mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Feed, UnpackError, type UnpackedLayer, unpackLayer } from "@starling/native";
import { BadImageError, chainIdOf, hexOf } from "@starling/registry";
import { hostBootId } from "../boot.ts";
import { syncFolder, writeDurably } from "./durable.ts";

/** A layer's uncompressed size at most: against archives that explode. */
const contentMax = 64 * 2 ** 30;
const entriesMax = 5_000_000;

/** A layer within its image. */
export interface WantedLayer {
  /** Of the blob. */
  readonly digest: string;
  readonly size: number;
  /** Diff ids of the image up to and with this layer, lowest first. */
  readonly diffIds: readonly string[];
}

/**
 * Unpacked layers:
 *   layers/<diff id>/         looks the same in every image
 *   layers/chain-<chain id>/  one that had to be unpacked over its lower layers: a hard link into them, a folder that only they
 *                             describe
 *   unsynced/<name>           holds the id of the boot that unpacked the layer of that name; gone once the layer is on the disk.
 *                             Layers of another boot with such a mark may be torn: they are removed at start
 * A folder gets its name by a rename after all its content was written and both digests were checked.
 */
export class LayerStore {
  readonly #folder: string;
  /** Marks that the next sync takes away. */
  readonly #unsynced = new Set<string>();
  #bootId = "";

  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(): Promise<void> {
    for (const name of ["layers", "unsynced", "tmp"]) await mkdir(join(this.#folder, name), { recursive: true });
    this.#bootId = await hostBootId();
    for (const name of await readdir(join(this.#folder, "unsynced"))) {
      const bootId = await readFile(this.#mark(name), "utf8");
      if (bootId === this.#bootId) {
        this.#unsynced.add(name);
      } else {
        await rm(this.path(name), { recursive: true, force: true });
        await rm(this.#mark(name), { force: true });
      }
    }
  }

  path(name: string): string {
    return join(this.#folder, "layers", name);
  }

  async has(name: string): Promise<boolean> {
    return access(this.path(name)).then(
      () => true,
      () => false,
    );
  }

  /** The folder of the layer, if it was unpacked before. */
  async find(diffIds: readonly string[]): Promise<string | undefined> {
    for (const name of layerNames(diffIds)) if (await this.has(name)) return name;
    return undefined;
  }

  async list(): Promise<readonly string[]> {
    return readdir(join(this.#folder, "layers"));
  }

  /** Makes layers unfindable, each in one step, on the disk when it resolves. Gives what is left to remove, below tmp/. */
  async retire(names: readonly string[]): Promise<readonly string[]> {
    const left: string[] = [];
    for (const name of names) {
      const temporary = join(this.#folder, "tmp", randomUUID());
      await rename(this.path(name), temporary).catch(ignoreAbsent);
      left.push(temporary);
    }
    if (names.length > 0) await syncFolder(join(this.#folder, "layers"));
    for (const name of names) {
      this.#unsynced.delete(name);
      await rm(this.#mark(name), { force: true });
    }
    return left;
  }

  /**
   * Unpacks a layer. `blob` holds its beginning or all of it, `feed` brings the rest. With `lowers` (folder names, lowest
   * first) it is unpacked over them. Gives the folder's name, or undefined when only its lower layers would tell how it looks:
   * then `blob` is whole. `synced` as unpackLayer's.
   */
  async put(
    wanted: WantedLayer,
    options: {
      readonly blob: string;
      readonly feed: Feed | undefined;
      readonly lowers?: readonly string[];
      readonly signal: AbortSignal;
    },
  ): Promise<{ readonly name: string | undefined; readonly synced: Promise<void> }> {
    const temporary = join(this.#folder, "tmp", randomUUID());
    await mkdir(temporary);
    try {
      const { layer, synced } = await unpackLayer(options.feed, {
        folder: temporary,
        blob: { path: options.blob, size: wanted.size },
        lowers: (options.lowers ?? []).map((name) => this.path(name)).reverse(),
        contentMax,
        entriesMax,
        signal: options.signal,
      });
      checkDigests(layer, wanted);
      const isBottom = wanted.diffIds.length === 1;
      if (isBottom && layer.missingLink !== "") {
        throw new BadImageError(`layer ${wanted.digest}: hard link ${JSON.stringify(layer.missingLink)} leads nowhere`);
      }
      const overLowers = options.lowers !== undefined;
      if (!layer.standalone && !isBottom && !overLowers) {
        await rm(temporary, { recursive: true, force: true });
        return { name: undefined, synced };
      }
      const name = layer.standalone && !overLowers ? aloneName(wanted.diffIds) : chainName(wanted.diffIds);
      await this.#adopt(temporary, name, synced);
      return { name, synced };
    } catch (error) {
      await rm(temporary, { recursive: true, force: true });
      // A damaged archive says so in many ways; a full disk is not the archive's fault.
      if (error instanceof UnpackError && !/\b(ENOSPC|EDQUOT|EIO|ENOMEM|ended with SIG)/.test(error.message)) {
        throw new BadImageError(`layer ${wanted.digest}: ${error.message}`);
      }
      throw error;
    }
  }

  async #adopt(temporary: string, name: string, synced: Promise<void>): Promise<void> {
    await writeDurably(this.#mark(name), this.#bootId, join(this.#folder, "tmp"));
    this.#unsynced.add(name);
    try {
      await rename(temporary, this.path(name));
    } catch (error) {
      if (!(await this.has(name))) throw error;
      await rm(temporary, { recursive: true, force: true });
    }
    // syncfs covers whatever was written before it began.
    const covered = [...this.#unsynced];
    void synced.then(
      async () => {
        for (const each of covered) {
          this.#unsynced.delete(each);
          await rm(this.#mark(each), { force: true });
        }
      },
      // The mark stays: the layer is used until the next boot, and made again then.
      () => {},
    );
  }

  #mark(name: string): string {
    return join(this.#folder, "unsynced", name);
  }
}

function checkDigests(layer: UnpackedLayer, wanted: WantedLayer): void {
  if (layer.digest !== wanted.digest) {
    throw new BadImageError(`layer ${wanted.digest}: the registry gave content with digest ${layer.digest}`);
  }
  const diffId = wanted.diffIds.at(-1);
  if (layer.diffId !== diffId) {
    throw new BadImageError(`layer ${wanted.digest}: unpacks to ${layer.diffId}, its image says ${diffId}`);
  }
}

/** Names that a layer's folder may have. */
export function layerNames(diffIds: readonly string[]): readonly string[] {
  return [aloneName(diffIds), chainName(diffIds)];
}

function aloneName(diffIds: readonly string[]): string {
  return hexOf(diffIds.at(-1) ?? "");
}

function chainName(diffIds: readonly string[]): string {
  return `chain-${hexOf(chainIdOf(diffIds))}`;
}

function ignoreAbsent(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}
