import { type ImageReference, parseImageReference } from "@starling/api";
import { SwarmError } from "@starling/base";
import {
  BadImageError,
  choosePlatform,
  configPlatform,
  type Descriptor,
  digestOf,
  displayName,
  type Platform,
  parseImageConfig,
  parseManifest,
} from "@starling/registry";
import { type ArchiveSpool, compressionOf, type SpooledFile } from "./archive-spool.ts";

const imagesMax = 1_000;

/** An image of an archive, all its pieces checked against their digests. */
export interface ArchiveImage {
  readonly digest: string;
  /** Its manifest and the indexes that lead to it, to be kept under their digests. */
  readonly documents: readonly { readonly digest: string; readonly text: string }[];
  readonly config: Descriptor;
  readonly configText: string;
  readonly diffIds: readonly string[];
  readonly layers: readonly (Descriptor & { readonly file: SpooledFile })[];
  /** As displayName writes them. */
  readonly references: readonly string[];
}

/**
 * The images of an archive that run on `platform`: an OCI layout's (index.json), with the names that a manifest.json beside it
 * gives, or an older docker archive's (manifest.json), whose manifests are made here. Throws BadImageError for what is no
 * such archive, is damaged, or has nothing for the platform.
 */
export async function imagesOf(archive: ArchiveSpool, platform: Platform): Promise<readonly ArchiveImage[]> {
  const docker = await dockerEntries(archive);
  const index = await archive.text("index.json");
  if (index === undefined && docker === undefined) {
    throw new BadImageError("archive: no image in it: neither manifest.json (docker save) nor index.json (OCI layout)");
  }
  const images = index === undefined ? [] : await ofLayout(archive, index, platform);
  const named = images.map((image) => withNames(image, docker ?? []));
  // A layout without images beside a manifest.json is not the whole story.
  if (named.length > 0) return merged(named);
  const made = await Promise.all((docker ?? []).map((entry) => ofDocker(archive, entry, platform)));
  if (made.length === 0) throw new BadImageError("archive: it holds no image");
  return merged(made);
}

/** An entry of docker's manifest.json. */
interface DockerEntry {
  readonly config: string;
  readonly tags: readonly string[];
  readonly layers: readonly string[];
}

async function dockerEntries(archive: ArchiveSpool): Promise<readonly DockerEntry[] | undefined> {
  const text = await archive.text("manifest.json");
  if (text === undefined) return undefined;
  const entries = parseJson(text, "manifest.json");
  if (!Array.isArray(entries)) throw new BadImageError("archive: manifest.json is not a list");
  if (entries.length > imagesMax) throw new BadImageError(`archive: more than ${imagesMax} images`);
  return entries.map((entry: unknown) => {
    const { Config, RepoTags, Layers } = (entry ?? {}) as Record<string, unknown>;
    if (typeof Config !== "string") throw new BadImageError("archive: manifest.json: Config must be a path");
    return { config: Config, tags: strings(RepoTags, "RepoTags"), layers: strings(Layers, "Layers") };
  });
}

/** Images of one manifest are one, with all its names. */
function merged(images: readonly ArchiveImage[]): readonly ArchiveImage[] {
  const byDigest = new Map<string, ArchiveImage>();
  for (const image of images) {
    const known = byDigest.get(image.digest);
    const references = [...new Set([...(known?.references ?? []), ...image.references])];
    byDigest.set(image.digest, { ...image, references });
  }
  return [...byDigest.values()];
}

function withNames(image: ArchiveImage, docker: readonly DockerEntry[]): ArchiveImage {
  const hex = image.config.digest.slice("sha256:".length);
  const own = docker.filter(({ config }) => config.includes(hex)).flatMap(({ tags }) => tags.map(nameOf));
  return { ...image, references: [...new Set([...image.references, ...own])] };
}

async function ofLayout(archive: ArchiveSpool, text: string, platform: Platform): Promise<readonly ArchiveImage[]> {
  const index = parseManifest(text);
  if (index.kind !== "index") throw new BadImageError("archive: index.json is no index");
  const annotations = (parseJson(text, "index.json") as { manifests: { annotations?: Record<string, unknown> }[] })
    .manifests;
  const images: ArchiveImage[] = [];
  for (const [i, entry] of index.manifests.entries()) {
    const references = layoutNames(annotations[i]?.annotations ?? {});
    // Attestations and other platforms' manifests lie beside the image.
    const isOther = entry.platform !== undefined && choosePlatform([entry], platform) === undefined;
    if (isOther && (index.manifests.length > 1 || entry.platform?.os === "unknown")) continue;
    images.push(await ofManifest(archive, entry, { platform, references }));
  }
  if (images.length === 0 && index.manifests.length > 0) throw notFor(platform, "the archive");
  return images;
}

async function ofManifest(
  archive: ArchiveSpool,
  { digest }: Descriptor,
  options: { readonly platform: Platform; readonly references: readonly string[] },
  above: ArchiveImage["documents"] = [],
): Promise<ArchiveImage> {
  const text = await archive.text(blobPath(archive, digest));
  const manifest = parseManifest(text!);
  const documents = [...above, { digest, text: text! }];
  if (manifest.kind === "index") {
    if (above.length > 0) throw new BadImageError("archive: an index within an index");
    const chosen = choosePlatform(manifest.manifests, options.platform);
    if (chosen === undefined) throw notFor(options.platform, options.references[0] ?? digest);
    return ofManifest(archive, chosen, options, documents);
  }
  const configText = (await archive.text(blobPath(archive, manifest.config.digest)))!;
  const layers = manifest.layers.map((layer) => {
    const file = archive.file(blobPath(archive, layer.digest))!;
    return { ...layer, size: file.size, file };
  });
  return {
    ...checked(configText, layers, options.platform),
    digest,
    documents,
    config: manifest.config,
    layers,
    ...{ references: options.references },
  };
}

/** Path of a blob that is in the archive and is what its digest says. */
function blobPath(archive: ArchiveSpool, digest: string): string {
  const path = `blobs/${digest.replace(":", "/")}`;
  const file = archive.file(path);
  if (file === undefined) throw new BadImageError(`archive: ${path} is missing`);
  if (file.digest !== digest) throw new BadImageError(`archive: ${path} has digest ${file.digest}: damaged`);
  return path;
}

/** Docker's entries have no manifest: one is made, the same each time. */
async function ofDocker(archive: ArchiveSpool, entry: DockerEntry, platform: Platform): Promise<ArchiveImage> {
  const configText = await archive.text(entry.config);
  if (configText === undefined) throw new BadImageError(`archive: ${entry.config} is missing`);
  const layers = entry.layers.map((path) => {
    const file = archive.file(path);
    if (file === undefined) throw new BadImageError(`archive: ${path} is missing`);
    const suffix = { none: "", gzip: "+gzip", zstd: "+zstd", other: "" }[compressionOf(file.head)];
    const mediaType = `application/vnd.oci.image.layer.v1.tar${suffix}`;
    return { mediaType, digest: file.digest, size: file.size, file };
  });
  const configBytes = Buffer.from(configText);
  const config = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    digest: digestOf(configBytes),
    size: configBytes.length,
  };
  const text = JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
  });
  const digest = digestOf(Buffer.from(text));
  parseManifest(text); // Its bounds hold for what is made here too.
  const references = [...new Set(entry.tags.map(nameOf))];
  return {
    ...checked(configText, layers, platform),
    digest,
    documents: [{ digest, text }],
    config,
    layers,
    references,
  };
}

function checked(configText: string, layers: readonly unknown[], platform: Platform) {
  const { diffIds } = parseImageConfig(configText);
  if (diffIds.length !== layers.length) {
    throw new BadImageError(`archive: an image of ${layers.length} layers whose config has ${diffIds.length}`);
  }
  const own = configPlatform(configText);
  const descriptor = { mediaType: "", digest: "", size: 0, platform: own };
  if (own.architecture !== "" && choosePlatform([descriptor], platform) === undefined) {
    throw notFor(platform, `an image for ${own.os}/${own.architecture}`);
  }
  return { configText, diffIds };
}

function notFor(platform: Platform, what: string): BadImageError {
  return new BadImageError(`${what} has nothing for this node, which is ${platform.os}/${platform.architecture}`);
}

/** Names in an OCI layout's annotations: containerd's and docker's whole one, else the common one if it is more than a tag. */
function layoutNames(annotations: Readonly<Record<string, unknown>>): readonly string[] {
  const whole = annotations["io.containerd.image.name"];
  if (typeof whole === "string") return [nameOf(whole)];
  const name = annotations["org.opencontainers.image.ref.name"];
  return typeof name === "string" && /[:/]/.test(name) ? [nameOf(name)] : [];
}

/** As tasks' references are kept. Throws BadImageError for a name that is none. */
export function nameOf(text: string): string {
  let reference: ImageReference;
  try {
    reference = parseImageReference(text);
  } catch (error) {
    throw new BadImageError(`archive: ${SwarmError.from(error).message}`);
  }
  return displayName({ ...reference, tag: reference.tag || "latest", digest: "" });
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadImageError(`archive: ${what} is not JSON`);
  }
}

function strings(value: unknown, what: string): readonly string[] {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string") || value.length > imagesMax) {
    throw new BadImageError(`archive: manifest.json: ${what} must be a list of strings`);
  }
  return value as string[];
}
