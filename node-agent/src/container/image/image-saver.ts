import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { parseImageReference } from "@starling/api";
import { SwarmError } from "@starling/base";
import { type Descriptor, parseManifest } from "@starling/registry";
import { PinHold } from "./image-guard.ts";
import type { ImageStore } from "./image-store.ts";
import { tarEnd, tarFileHeader, tarFolderHeader, tarPadding } from "./tar-writer.ts";

const chunkBytes = 256 << 10;

/** An image to be saved and the names it shall have in the archive. */
export interface WantedImage {
  readonly digest: string;
  readonly references: readonly string[];
}

/**
 * An archive of the images that `docker load` and readers of OCI layouts take: blobs as they came, index.json, manifest.json. The
 * same images give the same bytes. Throws FailedPrecondition when a blob is not here, DataLoss when it is damaged.
 */
export async function* saveImages(images: readonly WantedImage[], store: ImageStore): AsyncGenerator<Uint8Array> {
  const hold = new PinHold(store.guard);
  try {
    const manifests = [];
    for (const image of images) manifests.push(await readManifest(image, store, hold));
    yield tarFolderHeader("blobs");
    yield tarFolderHeader("blobs/sha256");
    const written = new Set<string>();
    for (const { digest, size, config, layers } of manifests) {
      for (const blob of [{ digest, size }, config, ...layers]) {
        if (written.has(blob.digest)) continue;
        written.add(blob.digest);
        yield* blobEntry(blob, store);
      }
    }
    yield* textEntry("index.json", {
      schemaVersion: 2,
      mediaType: indexType,
      manifests: manifests.flatMap(indexEntries),
    });
    yield* textEntry("manifest.json", manifests.map(dockerEntry));
    yield* textEntry("oci-layout", { imageLayoutVersion: "1.0.0" });
    yield tarEnd;
  } finally {
    hold.release();
  }
}

const indexType = "application/vnd.oci.image.index.v1+json";

interface SavedManifest extends Descriptor {
  readonly references: readonly string[];
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** The manifest of an image, all its blobs pinned and there. */
async function readManifest(image: WantedImage, store: ImageStore, hold: PinHold): Promise<SavedManifest> {
  const { digest, references } = image;
  const name = references[0] ?? digest;
  await hold.pin([digest]);
  const bytes = await store.blobs.read(digest);
  if (bytes === undefined) throw missing(name, digest);
  const text = bytes.toString("utf8");
  const manifest = parseManifest(text);
  if (manifest.kind !== "image") throw new SwarmError("FailedPrecondition", `image ${name}: ${digest} is an index`);
  for (const blob of [manifest.config, ...manifest.layers]) {
    await hold.pin([blob.digest]);
    if ((await store.blobs.size(blob.digest)) !== blob.size) throw missing(name, blob.digest);
  }
  const { mediaType } = JSON.parse(text) as { readonly mediaType?: unknown };
  return {
    mediaType: typeof mediaType === "string" ? mediaType : "application/vnd.oci.image.manifest.v1+json",
    digest,
    size: bytes.length,
    references,
    config: manifest.config,
    layers: manifest.layers,
  };
}

function missing(name: string, digest: string): SwarmError {
  return new SwarmError(
    "FailedPrecondition",
    `image ${name}: this node does not hold the content of ${digest}: save it from another node, or pull it again`,
  );
}

function indexEntries({ mediaType, digest, size, references }: SavedManifest): readonly object[] {
  const descriptor = { mediaType, digest, size };
  if (references.length === 0) return [descriptor];
  return references.map((reference) => {
    const { domain, path, tag } = parseImageReference(reference);
    const annotations = {
      "io.containerd.image.name": `${domain}/${path}:${tag || "latest"}`,
      "org.opencontainers.image.ref.name": tag || "latest",
    };
    return { ...descriptor, annotations };
  });
}

function dockerEntry({ config, layers, references }: SavedManifest): object {
  return {
    Config: blobName(config.digest),
    RepoTags: references.length === 0 ? null : references,
    Layers: layers.map(({ digest }) => blobName(digest)),
  };
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

async function* textEntry(name: string, value: unknown): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(JSON.stringify(value));
  yield tarFileHeader(name, bytes.length);
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
  yield tarPadding(bytes.length);
}

async function* blobEntry(
  { digest, size }: { readonly digest: string; readonly size: number },
  store: ImageStore,
): AsyncGenerator<Uint8Array> {
  yield tarFileHeader(blobName(digest), size);
  const hash = createHash("sha256");
  const file = await open(store.blobs.path(digest), "r");
  try {
    let at = 0;
    while (at < size) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(chunkBytes), 0, Math.min(chunkBytes, size - at), at);
      if (bytesRead === 0) break;
      at += bytesRead;
      const piece = buffer.subarray(0, bytesRead);
      hash.update(piece);
      yield piece;
    }
  } finally {
    await file.close();
  }
  if (`sha256:${hash.digest("hex")}` !== digest) {
    throw new SwarmError(
      "DataLoss",
      `the content of ${digest} on this node is damaged: remove the image and get it again`,
    );
  }
  yield tarPadding(size);
}
