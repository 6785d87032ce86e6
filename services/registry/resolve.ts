import { parseImageReference } from "@starling/api";
import type { RegistryClient } from "./client.ts";
import { parseRegistryAuth } from "./credentials.ts";
import { configPlatform, type Platform, parseManifest } from "./manifest.ts";

/** What a reference names at its registry now. */
export interface ResolvedImage {
  /** Of the manifest, or of the index of an image for several platforms. */
  readonly digest: string;
  /** What it was made for; empty when it does not say. */
  readonly platforms: readonly Platform[];
}

/**
 * Asks the registry what `reference` names, and for which platforms that is. `registryAuth` is Docker's X-Registry-Auth. Throws as
 * RegistryClient does.
 */
export async function resolveImage(
  client: RegistryClient,
  reference: string,
  options: { readonly registryAuth: string; readonly signal: AbortSignal },
): Promise<ResolvedImage> {
  const image = parseImageReference(reference);
  const asking = { credentials: parseRegistryAuth(options.registryAuth), signal: options.signal };
  const { digest, text } = await client.manifest(image, image.digest || image.tag || "latest", asking);
  const manifest = parseManifest(text);
  const platforms =
    manifest.kind === "index"
      ? manifest.manifests.flatMap(({ platform }) => (platform === undefined ? [] : [platform]))
      : [configPlatform(await client.smallBlob(image, manifest.config, asking))];
  // Signatures and the like are listed as of an unknown system.
  return { digest, platforms: platforms.filter(({ os }) => os !== "" && os !== "unknown") };
}
