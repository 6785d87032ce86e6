import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import type { PeerCertificate } from "node:tls";
import type { Clock, Millis } from "@starling/base";
import { hexOf } from "@starling/registry";
import type { Conversation, Source } from "./conversation.ts";
import { nodeOf, type PeerTls } from "./tls.ts";

/** A peer that gives less than the bytes below in this time is given up, though not while what it gave is still to be taken. */
const periodMs: Millis = 5_000;
const bytesMin = 16 << 10;
/** Peers that may fail before the registry is asked. */
const peersMax = 4;

type Peer = Source & { readonly t: "peer" };

export interface PeerDownloadOptions {
  readonly conversation: Conversation;
  readonly tls: PeerTls;
  readonly clock: Clock;
  readonly blob: string;
  /** The digest by which the task names the image; empty: by none, then peers are not asked. */
  readonly image: string;
}

/**
 * The download of one blob, as far as other nodes give it. Nothing that comes is believed: the caller checks the digest, and
 * calls `distrust` when it is wrong. `end` is called when the blob is here, or given up.
 */
export class PeerDownload {
  readonly #options: PeerDownloadOptions;
  readonly #notFrom: string[] = [];
  #peer: Peer | undefined;
  #isTurn = false;
  #atRegistry: boolean;

  constructor(options: PeerDownloadOptions) {
    this.#options = options;
    this.#atRegistry = options.image === "";
  }

  /** Whether bytes came from other nodes since the last `distrust`. */
  get isFromPeers(): boolean {
    return this.#peer !== undefined;
  }

  /** Whether the registry is asked from here on. */
  get isAtRegistry(): boolean {
    return this.#atRegistry;
  }

  /** Bytes from `offset` on, of a peer; undefined when the registry is to be asked. Called again when a peer broke off. */
  async open(offset: number, signal: AbortSignal): Promise<IncomingMessage | undefined> {
    const { conversation, tls, clock, blob, image } = this.#options;
    if (this.#peer !== undefined) this.#notFrom.push(this.#peer.nodeId);
    while (!this.#atRegistry) {
      const source: Source =
        this.#notFrom.length < peersMax
          ? await conversation.ask(blob, { image, notFrom: this.#notFrom, signal })
          : { t: "registry" };
      this.#isTurn = true;
      if (source.t === "registry") {
        this.#atRegistry = true;
        break;
      }
      try {
        const response = await getBlob(source, { tls, clock, path: `/${hexOf(image)}/${hexOf(blob)}`, offset, signal });
        this.#peer = source;
        return response;
      } catch {
        // Gone, or without the blob: another one is asked for.
        signal.throwIfAborted();
        this.#notFrom.push(source.nodeId);
      }
    }
    return undefined;
  }

  /** What came was wrong: none of those who gave it is asked again. */
  distrust(): void {
    if (this.#peer !== undefined) this.#notFrom.push(this.#peer.nodeId);
    this.#peer = undefined;
  }

  /** Bytes came, from wherever. */
  moved(): void {
    this.#options.conversation.moved(this.#options.blob);
  }

  end(): void {
    if (this.#isTurn) this.#options.conversation.end(this.#options.blob);
    this.#isTurn = false;
  }
}

/** Rejects unless the node that `peer` names, and no other, gives bytes from `offset` on. */
function getBlob(
  peer: Peer,
  options: {
    readonly tls: PeerTls;
    readonly clock: Clock;
    readonly path: string;
    readonly offset: number;
    readonly signal: AbortSignal;
  },
): Promise<IncomingMessage> {
  const { tls, clock, path, offset, signal } = options;
  const expected = offset === 0 ? 200 : 206;
  return new Promise((resolve, reject) => {
    const call = request(`https://${peer.address}${path}`, {
      ...tls.context(),
      // A connection is good for the one node that it was made for.
      agent: false,
      headers: offset === 0 ? {} : { range: `bytes=${offset}-` },
      signal,
      checkServerIdentity: (_host: string, certificate: PeerCertificate) =>
        nodeOf(certificate, tls) === peer.nodeId
          ? undefined
          : new Error(`${peer.address} is not node ${peer.nodeId} of this cluster`),
    });
    const silence = clock.setTimer(periodMs, () => call.destroy(new Error(`node ${peer.nodeId} does not answer`)));
    call.once("close", () => silence.cancel());
    call.on("error", reject);
    call.once("response", (response) => {
      silence.cancel();
      if (response.statusCode === expected) {
        leaveWhenSlow(response, clock);
        return resolve(response);
      }
      response.resume();
      reject(new Error(`node ${peer.nodeId}: HTTP status ${response.statusCode}`));
    });
    call.end();
  });
}

function leaveWhenSlow(response: IncomingMessage, clock: Clock): void {
  const { socket } = response;
  let before = socket.bytesRead;
  const look = () => {
    const isWaitedFor = response.readableLength === 0;
    if (isWaitedFor && socket.bytesRead - before < bytesMin) {
      response.destroy(new Error("the node is too slow"));
      return;
    }
    before = socket.bytesRead;
    timer = clock.setTimer(periodMs, look);
  };
  let timer = clock.setTimer(periodMs, look);
  response.once("close", () => timer.cancel());
}
