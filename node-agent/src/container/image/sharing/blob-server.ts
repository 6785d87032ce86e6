import { open } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import type { TLSSocket } from "node:tls";
import { type Clock, type Logger, type Millis, metrics, SwarmError } from "@starling/base";
import { parseManifest } from "@starling/registry";
import type { BlobStore } from "../blob-store.ts";
import { deadBuffers } from "../dead-buffers.ts";
import { Grants } from "./grants.ts";
import { nodeOf, type PeerTls } from "./tls.ts";

/** For a grant that the managers have sent, but that is not here yet. */
const grantPatienceMs: Millis = 2_000;
/** A client that takes nothing for this long is let go. */
const silenceMs: Millis = 30_000;
const connectionsMax = 64;

/**
 * Gives this node's blobs to other nodes: `GET /<image digest>/<blob digest>`, with `Range: bytes=N-`. Only nodes with a certificate of
 * the cluster get as far as a request; they get blobs of the images that the managers have granted them, and nothing else.
 */
export class BlobServer {
  readonly grants: Grants;
  readonly #server: Server;
  readonly #blobs: BlobStore;
  readonly #tls: PeerTls;
  readonly #log: Logger;
  readonly #unsubscribe: () => void;
  readonly #given = metrics.counter("starling_image_bytes_given_total", "Bytes of images given to other nodes.");

  private constructor(options: BlobServerOptions) {
    this.#blobs = options.blobs;
    this.#tls = options.tls;
    this.#log = options.log;
    this.grants = new Grants(options.clock);
    this.#server = createServer(
      { ...options.tls.context(), requestCert: true, rejectUnauthorized: true },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.maxConnections = connectionsMax;
    this.#server.timeout = silenceMs;
    this.#server.keepAliveTimeout = 1_000;
    this.#unsubscribe = options.tls.onChange(() => this.#server.setSecureContext(options.tls.context()));
  }

  /** Throws Unavailable when the address is taken. */
  static async listen(options: BlobServerOptions): Promise<BlobServer> {
    const server = new BlobServer(options);
    const { host, port } = options.address;
    await new Promise<void>((resolve, reject) => {
      const fail = ({ message }: Error) =>
        reject(new SwarmError("Unavailable", `cannot listen on ${host}:${port}: ${message}`));
      server.#server.once("error", fail);
      server.#server.listen(port, host, () => {
        server.#server.off("error", fail);
        resolve();
      });
    });
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const peer = nodeOf((request.socket as TLSSocket).getPeerCertificate(), this.#tls);
    try {
      const [, image, blob] = /^\/([0-9a-f]{64})\/([0-9a-f]{64})$/.exec(request.url ?? "") ?? [];
      if (request.method !== "GET" || image === undefined || blob === undefined) return refuse(response, 404);
      if (peer === undefined || !(await this.grants.has(peer, image, grantPatienceMs))) return refuse(response, 403);
      if (!(await this.#isPartOf(`sha256:${blob}`, `sha256:${image}`))) return refuse(response, 404);
      await this.#send(`sha256:${blob}`, request, response);
    } catch (error) {
      this.#log.debug("blob not given", { "peer.id": peer, url: request.url, error: SwarmError.from(error).message });
      if (response.headersSent) response.destroy();
      else refuse(response, 404);
    }
  }

  async #send(blob: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const file = await open(this.#blobs.path(blob));
    try {
      const { size } = await file.stat();
      const from = Number(/^bytes=(\d{1,15})-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
      if (from > size) return refuse(response, 416);
      response.writeHead(from === 0 ? 200 : 206, {
        "content-length": size - from,
        "content-range": `bytes ${from}-${size - 1}/${size}`,
      });
      const content = file.createReadStream({ start: from, autoClose: false, highWaterMark: 256 << 10 });
      content.on("data", ({ length }) => {
        this.#given.inc(length);
        deadBuffers.passed(length);
      });
      await deadBuffers.during(() => pipeline(content, response));
    } finally {
      await file.close();
    }
  }

  /** Whether the blob is the image's manifest or index itself, or one that these name. */
  async #isPartOf(blob: string, image: string): Promise<boolean> {
    if (blob === image) return true;
    const top = await this.#blobs.read(image);
    if (top === undefined) return false;
    const manifest = parseManifest(top.toString("utf8"));
    if (manifest.kind === "image") return [manifest.config, ...manifest.layers].some(({ digest }) => digest === blob);
    if (manifest.manifests.some(({ digest }) => digest === blob)) return true;
    for (const { digest } of manifest.manifests) {
      // Those of other platforms are not here.
      const text = (await this.#blobs.read(digest))?.toString("utf8");
      const inner = text === undefined ? undefined : parseManifest(text);
      if (inner?.kind === "image" && [inner.config, ...inner.layers].some((each) => each.digest === blob)) return true;
    }
    return false;
  }
}

export interface BlobServerOptions {
  readonly address: { readonly host: string; readonly port: number };
  readonly blobs: BlobStore;
  readonly tls: PeerTls;
  readonly clock: Clock;
  readonly log: Logger;
}

function refuse(response: ServerResponse, status: number): void {
  response.writeHead(status).end();
}
