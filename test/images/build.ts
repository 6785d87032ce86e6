import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../cluster/index.ts";
import { type Layer, packLayer } from "./layer.ts";
import { type ImageName, type LayerName, layerRecipes, type Recipe, recipes } from "./recipes.ts";

/** A blob of an image that is ready to be pushed. */
export interface Blob {
  readonly digest: string;
  readonly size: number;
  readonly file: string;
}

export interface Manifest {
  /** A tag, or a digest for a manifest that an index names. */
  readonly reference: string;
  readonly mediaType: string;
  readonly digest: string;
  readonly text: string;
}

export interface BuiltImage {
  readonly repository: string;
  /** What the tag resolves to. */
  readonly digest: string;
  readonly blobs: readonly Blob[];
  /** In the order in which they must be pushed. */
  readonly manifests: readonly Manifest[];
}

/** Go's names of architectures, as images use them. */
const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as "x64" | "arm64"];

const mediaTypes = {
  oci: {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
  },
  docker: {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  },
} as const;

/** Changes when a recipe or the way of packing does. */
export function recipesKey(): string {
  const hash = createHash("sha256");
  for (const file of ["recipes.ts", "layer.ts", "build.ts", "debian.ts"]) {
    hash.update(readFileSync(join(import.meta.dirname, file)));
  }
  return hash.update(process.arch).digest("hex").slice(0, 16);
}

/** All images of `recipes`. The first call downloads and packs (a minute), later ones take them from the cache. Needs root. */
export async function buildImages(): Promise<Readonly<Record<ImageName, BuiltImage>>> {
  const folder = join(cacheFolder, "images", recipesKey());
  if (!existsSync(folder)) await buildAll(folder);
  // Files of the list are relative to the folder, so that the cache may be moved.
  const list = JSON.parse(readFileSync(join(folder, "images.json"), "utf8")) as Record<ImageName, BuiltImage>;
  for (const image of Object.values(list)) {
    for (const blob of image.blobs as Blob[]) Object.assign(blob, { file: join(folder, blob.file) });
  }
  return list;
}

async function buildAll(folder: string): Promise<void> {
  const unfinished = `${folder}.${process.pid}`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  const layers = new Map<LayerName, Layer>();
  for (const name of Object.keys(layerRecipes) as LayerName[]) {
    const root = join(unfinished, "root");
    mkdirSync(root);
    await layerRecipes[name](root);
    layers.set(name, await packLayer(root, join(unfinished, `${name}.tar.gz`)));
    rmSync(root, { recursive: true });
  }
  const images = Object.entries(recipes).map(([name, recipe]) => [name, assemble(recipe, layers, unfinished)]);
  writeFileSync(join(unfinished, "images.json"), JSON.stringify(Object.fromEntries(images), undefined, 2));
  try {
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true });
    // Another process has built the same meanwhile.
    if (!existsSync(join(folder, "images.json"))) throw error;
  }
}

function assemble(recipe: Recipe, built: ReadonlyMap<LayerName, Layer>, folder: string): BuiltImage {
  const types = mediaTypes[recipe.kind === "docker" ? "docker" : "oci"];
  const layers = recipe.layers.map((name) => ({ name, ...built.get(name)! }));
  const config = JSON.stringify({
    architecture,
    os: "linux",
    created: "2023-11-14T22:13:20Z",
    config: recipe.config,
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffId) },
    history: layers.map((layer) => ({ created: "2023-11-14T22:13:20Z", created_by: layer.name })),
  });
  const configFile = `${recipe.repository}-${recipe.tag}.config.json`;
  writeFileSync(join(folder, configFile), config);
  const configBlob = { digest: digest(config), size: Buffer.byteLength(config), file: configFile };
  const blobs = [...layers.map((l) => ({ digest: l.digest, size: l.size, file: `${l.name}.tar.gz` })), configBlob];
  const text = JSON.stringify({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: { mediaType: types.config, digest: configBlob.digest, size: configBlob.size },
    layers: layers.map((l) => ({ mediaType: types.layer, digest: l.digest, size: l.size })),
  });
  const manifest = { mediaType: types.manifest, digest: digest(text), text };
  if (recipe.kind !== "oci-index") {
    return {
      repository: recipe.repository,
      digest: manifest.digest,
      blobs,
      manifests: [{ ...manifest, reference: recipe.tag }],
    };
  }
  const index = indexOf(manifest);
  return {
    repository: recipe.repository,
    digest: index.digest,
    blobs,
    manifests: [
      { ...manifest, reference: manifest.digest },
      { ...index, reference: recipe.tag },
    ],
  };
}

/** An index with an entry of a foreign platform in front, which a client has to pass over. */
function indexOf(manifest: Omit<Manifest, "reference">): Omit<Manifest, "reference"> {
  const mediaType = "application/vnd.oci.image.index.v1+json";
  const entry = { mediaType: manifest.mediaType, digest: manifest.digest, size: Buffer.byteLength(manifest.text) };
  const foreign = { ...entry, platform: { architecture: "s390x", os: "linux" } };
  const own = { ...entry, platform: { architecture, os: "linux" } };
  const text = JSON.stringify({ schemaVersion: 2, mediaType, manifests: [foreign, own] });
  return { mediaType, digest: digest(text), text };
}

function digest(text: string): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}
