import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import { BadImageError, type Platform } from "@starling/registry";
import { type ArchiveImage, imagesOf, nameOf } from "./archive-images.ts";
import { spoolArchive } from "./archive-spool.ts";
import { describeFullDisk, isDiskFull } from "./disk-space.ts";
import { PinHold } from "./image-guard.ts";
import type { ImageStore } from "./image-store.ts";
import type { LayerPuller } from "./layer-puller.ts";
import { layerNames } from "./layer-store.ts";
import { PullProgress } from "./progress.ts";

export interface LoaderContext {
  readonly store: ImageStore;
  readonly layers: LayerPuller;
  readonly platform: Platform;
  readonly clock: Clock;
  readonly log: Logger;
  readonly makeRoom: () => Promise<boolean>;
}

export interface LoadedImage {
  readonly id: string;
  readonly digest: string;
  readonly references: readonly string[];
}

/**
 * Makes the images of an archive whole on this host, one after the other; each can be used when it is told of. `reference`
 * names the archive's only image. Throws InvalidArgument for a bad archive, ResourceExhausted on a full disk; what was told
 * of stays, of the rest nothing is ever used.
 */
export async function* loadImages(
  chunks: AsyncIterable<Uint8Array>,
  context: LoaderContext,
  options: { readonly reference: string; readonly signal: AbortSignal },
): AsyncGenerator<LoadedImage> {
  const { store, makeRoom, platform } = context;
  const folder = join(store.tmp, `load-${randomUUID()}`);
  const hold = new PinHold(store.guard);
  await mkdir(folder);
  try {
    const archive = await spoolArchive(chunks, { folder, signal: options.signal, makeRoom });
    const images = named(await imagesOf(archive, platform), options.reference);
    for (const image of images) {
      options.signal.throwIfAborted();
      yield await load(image, context, hold);
    }
  } catch (error) {
    if (error instanceof BadImageError) throw new SwarmError("InvalidArgument", error.message, { cause: error });
    if (!isDiskFull(error) || error instanceof SwarmError) throw error;
    throw new SwarmError("ResourceExhausted", await describeFullDisk(store.folder), { cause: error });
  } finally {
    hold.release();
    await rm(folder, { recursive: true, force: true });
  }
}

function named(images: readonly ArchiveImage[], reference: string): readonly ArchiveImage[] {
  if (reference === "") return images;
  if (images.length !== 1) {
    throw new BadImageError(`archive: ${images.length} images: a name can be given to an only one`);
  }
  return [{ ...images[0]!, references: [nameOf(reference)] }];
}

async function load(image: ArchiveImage, context: LoaderContext, hold: PinHold): Promise<LoadedImage> {
  const { store, clock, log } = context;
  const { digest, config, layers, diffIds, references } = image;
  await hold.pin([digest, config.digest, ...image.documents.map((document) => document.digest)]);
  await hold.pin(layers.map((layer) => layer.digest));
  await hold.pin(diffIds.flatMap((_id, i) => layerNames(diffIds.slice(0, i + 1))));
  if ((await store.image(digest)) === undefined) {
    for (const document of image.documents) await store.blobs.put(document.digest, Buffer.from(document.text));
    await store.blobs.put(config.digest, Buffer.from(image.configText));
    for (const layer of layers) await store.blobs.adopt(layer.digest, layer.file.path);
    const folders = await unpack(image, context);
    await store.putImage(digest, {
      version: 1,
      config: config.digest,
      layers: layers.map((layer, i) => ({ blob: layer.digest, folder: folders[i]! })),
    });
  }
  for (const reference of references) await store.setResolved(reference, digest, { loaded: true });
  await store.touch(digest, clock.now());
  log.info("image loaded", { image: references.join(" "), digest });
  return { id: config.digest, digest, references };
}

async function unpack({ layers, diffIds }: ArchiveImage, context: LoaderContext): Promise<readonly string[]> {
  const progress = new PullProgress(context.clock);
  const once = () => context.layers.pull(undefined, { layers, diffIds, credentials: undefined, progress });
  try {
    return await once();
  } catch (error) {
    if (!isDiskFull(error) || !(await context.makeRoom())) throw error;
    return once();
  }
}
