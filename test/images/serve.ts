import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { BuiltImage } from "./build.ts";

const architecture = { x64: "amd64", arm64: "arm64" }[process.arch as "x64" | "arm64"];
const digestOf = (bytes: string | Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A layer ready to be served: its blob and the archive in it. */
export interface ServedLayer {
  readonly blob: Buffer;
  readonly diffId: string;
  readonly mediaType: string;
}

/** A registry in this process, plain HTTP on loopback, of images that are added to it. */
export class ImageServer {
  readonly #server: Server;
  readonly #blobs = new Map<string, () => Buffer>();
  readonly #manifests = new Map<string, { readonly text: string; readonly mediaType: string }>();

  private constructor() {
    this.#server = createServer(({ url = "", method }, response) => {
      const [, repository, kind, name = ""] = /^\/v2\/(.+)\/(manifests|blobs)\/(.+)$/.exec(url) ?? [];
      const manifest = kind === "manifests" ? this.#manifests.get(`${repository} ${name}`) : undefined;
      const body = manifest?.text ?? (kind === "blobs" ? this.#blobs.get(name)?.() : url === "/v2/" ? "{}" : undefined);
      if (body === undefined) return void response.writeHead(404).end();
      const type = manifest?.mediaType ?? "application/octet-stream";
      response.writeHead(200, {
        "content-type": type,
        "content-length": Buffer.byteLength(body),
        "docker-content-digest": digestOf(body),
      });
      response.end(method === "HEAD" ? undefined : body);
    });
  }

  static async start(): Promise<ImageServer> {
    const server = new ImageServer();
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  addBuilt(image: BuiltImage): void {
    for (const { digest, file } of image.blobs) this.#blobs.set(digest, () => readFileSync(file));
    for (const manifest of image.manifests) {
      this.#manifests.set(`${image.repository} ${manifest.reference}`, manifest);
      this.#manifests.set(`${image.repository} ${manifest.digest}`, manifest);
    }
  }

  /** Adds `repository:1`, of OCI's media types or Docker's. */
  add(repository: string, layers: readonly ServedLayer[], kind: "oci" | "docker" = "oci"): void {
    const config = JSON.stringify({
      architecture,
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
      history: layers.map(() => ({ created_by: "test" })),
    });
    const vendor = kind === "oci" ? "application/vnd.oci.image" : "application/vnd.docker";
    const mediaType = kind === "oci" ? `${vendor}.manifest.v1+json` : `${vendor}.distribution.manifest.v2+json`;
    const configType = kind === "oci" ? `${vendor}.config.v1+json` : `${vendor}.container.image.v1+json`;
    const text = JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: configType, digest: digestOf(config), size: Buffer.byteLength(config) },
      layers: layers.map(({ blob, mediaType: type }) => ({
        mediaType: kind === "oci" ? type : "application/vnd.docker.image.rootfs.diff.tar.gzip",
        digest: digestOf(blob),
        size: blob.length,
      })),
    });
    this.#blobs.set(digestOf(config), () => Buffer.from(config));
    for (const { blob } of layers) this.#blobs.set(digestOf(blob), () => blob);
    for (const name of ["1", digestOf(text)]) this.#manifests.set(`${repository} ${name}`, { text, mediaType });
  }
}
