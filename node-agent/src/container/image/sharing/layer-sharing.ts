import type { LayerSharingRequest, LayerSharingResponse } from "@starling/api";
import { type Clock, type Logger, SwarmError } from "@starling/base";
import type { BlobStore } from "../blob-store.ts";
import { BlobServer } from "./blob-server.ts";
import { Conversation } from "./conversation.ts";
import { PeerDownload } from "./peer-download.ts";
import type { PeerTls } from "./tls.ts";

export interface LayerSharingOptions {
  /** Where other nodes reach this one. */
  readonly address: { readonly host: string; readonly port: number };
  readonly tls: PeerTls;
}

/** This node's part in sharing images: it gives its blobs to others, and gets from them what it lacks. */
export class LayerSharing {
  readonly #options: LayerSharingOptions;
  readonly #blobs: BlobStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #conversation: Conversation;
  #server: BlobServer | undefined;

  constructor(
    options: LayerSharingOptions & { readonly blobs: BlobStore; readonly clock: Clock; readonly log: Logger },
  ) {
    this.#options = options;
    this.#blobs = options.blobs;
    this.#clock = options.clock;
    this.#log = options.log;
    const port = () => this.port;
    this.#conversation = new Conversation({
      clock: options.clock,
      log: options.log,
      subject: {
        get port() {
          return port();
        },
        held: () => this.#blobs.list(),
        allow: (nodeId, image) => this.allow(nodeId, image),
      },
    });
    this.#blobs.onAdded = (digest) => this.#conversation.hold(digest);
  }

  /** TCP port on which blobs are given; 0: none are. */
  get port(): number {
    return this.#server?.port ?? 0;
  }

  /** Another node may have the blobs of an image, whose digest's hexadecimal digits are given. */
  allow(nodeId: string, image: string): void {
    this.#server?.grants.allow(nodeId, image);
  }

  /** A node whose port is taken gets from others, but gives nothing. */
  async open(): Promise<void> {
    try {
      this.#server = await BlobServer.listen({
        ...this.#options,
        blobs: this.#blobs,
        clock: this.#clock,
        log: this.#log,
      });
    } catch (error) {
      this.#log.warn("images are not given to other nodes", { error: SwarmError.from(error).message });
    }
  }

  /** Talks to the leader, by way of the manager of the node's session, until the signal aborts. */
  follow(
    open: (requests: AsyncIterable<LayerSharingRequest>, signal: AbortSignal) => AsyncIterable<LayerSharingResponse>,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#conversation.run(open, signal);
  }

  /** `image` is the digest by which the task names the image, or empty. */
  download(blob: string, image: string): PeerDownload {
    return new PeerDownload({
      conversation: this.#conversation,
      tls: this.#options.tls,
      clock: this.#clock,
      blob,
      image,
    });
  }

  async close(): Promise<void> {
    this.#blobs.onAdded = undefined;
    await this.#server?.close();
  }
}
