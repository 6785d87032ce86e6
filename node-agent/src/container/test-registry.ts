import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

const sha256 = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A registry of one image, `box`, for tests: busybox in two layers, with a user and an environment. */
export class TestRegistry {
  readonly requests: string[] = [];
  readonly #server: Server;
  readonly #blobs = new Map<string, Buffer>();
  #manifest = Buffer.alloc(0);
  #layers: readonly Buffer[] = [];
  #damaged = false;
  /** The connection breaks after so many bytes of a layer. */
  cutAfter: number | undefined;
  /** Layers' contents are sent when this resolves. */
  layersHeld: Promise<void> = Promise.resolve();
  /** What the next requests are refused with. */
  readonly refusals: { readonly status: number; readonly headers?: Record<string, string> }[] = [];
  /** `Range` headers of blob requests. */
  readonly ranges: string[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(config: Record<string, unknown> = {}): Promise<TestRegistry> {
    const registry = new TestRegistry(createServer((request, response) => registry.#answer(request, response)));
    registry.#build(config);
    await new Promise<void>((resolve) => registry.#server.listen(0, "127.0.0.1", resolve));
    return registry;
  }

  get image(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}/box:1`;
  }

  /** The image by its digest. */
  get pinned(): string {
    return `${this.image}@${sha256(this.#manifest)}`;
  }

  /** Requests for each piece of the image, by digest. */
  get requestsByDigest(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const url of this.requests) {
      const digest = /sha256:[0-9a-f]{64}$/.exec(url)?.[0];
      if (digest !== undefined) counts.set(digest, (counts.get(digest) ?? 0) + 1);
    }
    return counts;
  }

  /** From now on layers are others than their digests say: empty archives of the same length. */
  damageLayers(): void {
    this.#damaged = true;
  }

  repairLayers(): void {
    this.#damaged = false;
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url ?? "";
    this.requests.push(url);
    const refusal = this.refusals.shift();
    if (refusal !== undefined) {
      response.writeHead(refusal.status, refusal.headers).end();
      return;
    }
    const [, kind, name] = /^\/v2\/box\/(manifests|blobs)\/(.+)$/.exec(url) ?? [];
    const known = name === "1" || name === sha256(this.#manifest);
    const blob = this.#blobs.get(name ?? "");
    const isLayer = blob !== undefined && this.#layers.includes(blob);
    const body =
      kind === "manifests"
        ? known
          ? this.#manifest
          : undefined
        : isLayer && this.#damaged
          ? Buffer.alloc(blob.length)
          : blob;
    if (body === undefined) {
      response.writeHead(404).end();
      return;
    }
    if (kind === "manifests") {
      response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end(body);
      return;
    }
    const range = request.headers.range;
    if (range !== undefined) this.ranges.push(range);
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
    const part = body.subarray(from);
    const headers = {
      "content-length": part.length,
      "content-range": `bytes ${from}-${body.length - 1}/${body.length}`,
    };
    response.writeHead(range === undefined ? 200 : 206, headers);
    if (!isLayer) return void response.end(part);
    void this.layersHeld.then(() => {
      if (this.cutAfter === undefined || part.length <= this.cutAfter) response.end(part);
      else response.write(part.subarray(0, this.cutAfter), () => response.destroy());
    });
  }

  #build(config: Record<string, unknown>): void {
    const layers = [baseLayer(), secondLayer()];
    const image = {
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config: { Env: ["PATH=/bin", "FROM_IMAGE=yes"], Cmd: ["sh"], ...config },
      rootfs: { type: "layers", diff_ids: layers.map((layer) => sha256(gunzipSync(layer))) },
    };
    this.#layers = layers;
    const configBlob = Buffer.from(JSON.stringify(image));
    for (const blob of [...layers, configBlob]) this.#blobs.set(sha256(blob), blob);
    this.#manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {
          mediaType: "application/vnd.oci.image.config.v1+json",
          digest: sha256(configBlob),
          size: configBlob.length,
        },
        layers: layers.map((layer) => ({
          mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
          digest: sha256(layer),
          size: layer.length,
        })),
      }),
    );
  }
}

function baseLayer(): Buffer {
  return pack((folder) => {
    mkdirSync(join(folder, "bin"));
    mkdirSync(join(folder, "etc"));
    copyFileSync("/usr/bin/busybox", join(folder, "bin/busybox"));
    for (const name of execFileSync("/usr/bin/busybox", ["--list"], { encoding: "utf8" }).trim().split("\n")) {
      if (name !== "busybox") symlinkSync("busybox", join(folder, "bin", name));
    }
    writeFileSync(join(folder, "etc/passwd"), "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
    writeFileSync(join(folder, "etc/group"), "root:x:0:\napp:x:1000:\nextra:x:2000:app\n");
    writeFileSync(join(folder, "hidden"), "of the base layer");
  });
}

function secondLayer(): Buffer {
  return pack((folder) => {
    writeFileSync(join(folder, ".wh.hidden"), "");
    writeFileSync(join(folder, "added"), "by the second layer\n");
  });
}

function pack(fill: (folder: string) => void): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "starling-layer-"));
  try {
    const root = join(folder, "root");
    mkdirSync(root);
    fill(root);
    execFileSync("tar", ["-C", root, "-cf", join(folder, "layer.tar"), "."]);
    return gzipSync(readFileSync(join(folder, "layer.tar")), { level: 1 });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
