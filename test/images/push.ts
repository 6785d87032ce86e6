import { openAsBlob } from "node:fs";
import { SwarmError } from "@starling/base";
import { type BuiltImage, buildImages } from "./build.ts";
import { type ImageName, recipes } from "./recipes.ts";

/** An image in a registry, by tag and by digest: `10.99.0.2:5000/web:1`, `10.99.0.2:5000/web@sha256:…`. */
export interface PushedImage {
  readonly reference: string;
  readonly pinned: string;
  readonly digest: string;
}

export type PushedImages = Readonly<Record<ImageName, PushedImage>>;

/** Where the images are, once pushed to the registry at `address` (host:port), by the cache alone. */
export async function imagesAt(address: string): Promise<PushedImages> {
  const built = await buildImages();
  return Object.fromEntries(
    Object.entries(built).map(([name, { repository, digest }]) => {
      const { tag } = recipes[name as ImageName];
      const at = `${address}/${repository}`;
      return [name, { reference: `${at}:${tag}`, pinned: `${at}@${digest}`, digest }];
    }),
  ) as Record<ImageName, PushedImage>;
}

/**
 * Builds the images if need be and pushes what the registry lacks. `registryUrl` as `http://10.99.0.2:5000`; it must be
 * reachable from this process's network namespace. Throws Unavailable or Internal with the registry's answer.
 */
export async function ensureImages(registryUrl: string): Promise<PushedImages> {
  for (const image of Object.values(await buildImages())) await push(registryUrl, image);
  return imagesAt(new URL(registryUrl).host);
}

/** Pushes one image through the registry's HTTP API (OCI distribution spec, "Pushing"). */
async function push(registryUrl: string, image: BuiltImage): Promise<void> {
  const base = `${registryUrl}/v2/${image.repository}`;
  if (await hasManifest(base, image)) return;
  for (const blob of image.blobs) {
    const head = await request(`${base}/blobs/${blob.digest}`, { method: "HEAD" }, [200, 404]);
    if (head.status === 200) continue;
    const started = await request(`${base}/blobs/uploads/`, { method: "POST" }, [202]);
    const location = new URL(started.headers.get("location") ?? "", registryUrl);
    location.searchParams.set("digest", blob.digest);
    await request(
      location,
      { method: "PUT", headers: { "content-type": "application/octet-stream" }, body: await openAsBlob(blob.file) },
      [201],
    );
  }
  for (const { reference, mediaType, text } of image.manifests) {
    await request(
      `${base}/manifests/${reference}`,
      { method: "PUT", headers: { "content-type": mediaType }, body: text },
      [201],
    );
  }
}

/** Whether the tag already means this very image. A registry keeps a manifest's blobs. */
async function hasManifest(base: string, image: BuiltImage): Promise<boolean> {
  const tagged = image.manifests.at(-1)!;
  const url = `${base}/manifests/${tagged.reference}`;
  const answer = await request(url, { method: "HEAD", headers: { accept: tagged.mediaType } }, [200, 404]);
  return answer.status === 200 && answer.headers.get("docker-content-digest") === image.digest;
}

async function request(url: string | URL, init: RequestInit, expected: readonly number[]): Promise<Response> {
  const what = `${init.method} ${url}`;
  const answer = await fetch(url, init).catch((error: Error) => {
    throw new SwarmError("Unavailable", `${what}: ${error.cause ?? error.message}`, { cause: error });
  });
  if (expected.includes(answer.status)) return answer;
  throw new SwarmError("Internal", `${what}: status ${answer.status}: ${(await answer.text()).trim()}`);
}
