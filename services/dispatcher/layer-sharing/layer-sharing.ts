import {
  isPinned,
  LayerGrant,
  type LayerSharing,
  type LayerSharingRequest,
  LayerSharingResponse,
  LayerSource,
  NodeStatus_State,
  TaskState,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { type Clock, type Logger, SwarmError, type Timer } from "@starling/base";
import { byNode, type MemoryStore } from "@starling/store";
import { BlobBoard, type Turn, type Wish } from "./blob-board.ts";

/** How often it is looked whose patience is at its end, while something is downloaded or waited for. */
const expiryPeriodMs = 2_000;
/** How long a new leader sends nobody to a registry: nodes that fetch there may not have told it yet. */
const rejoinMs = 2_000;
/** Of one node: a bound on what one may make the leader remember. */
const heldMax = 50_000;
const notFromMax = 16;

interface Stream {
  readonly nodeId: string;
  readonly sources: LayerSource[];
  readonly grants: LayerGrant[];
  /** `host:port`; empty: nobody can reach it. */
  address: string;
  held: number;
  isOver: boolean;
  wake: () => void;
}

/**
 * Serves `starling.v1.LayerSharing`. A node is told of others only for images that its own tasks name by digest; for anything
 * else it is sent to the registry. Nodes that give a blob are told whom they may give it to.
 */
export function createLayerSharingHandlers(options: {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
}): Handlers<typeof LayerSharing> {
  const sharing = new Sharing(options);
  return {
    share(requests, { caller, signal }) {
      if (caller.nodeId === "") {
        throw new SwarmError("InvalidArgument", "the caller has no node id: call with a node's certificate");
      }
      return sharing.stream(caller.nodeId, requests, signal);
    },
  };
}

class Sharing {
  readonly #store: MemoryStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #board = new BlobBoard();
  readonly #streams = new Map<string, Stream>();
  /** Since when there are streams, by the monotonic clock. */
  #beganAtMs = 0;
  /** Nobody is sent to a registry before. */
  #registryAtMs = 0;
  #timer: Timer | undefined;
  /** Ends the watch of the nodes; undefined without streams. */
  #following: AbortController | undefined;

  constructor({ store, clock, log }: { readonly store: MemoryStore; readonly clock: Clock; readonly log: Logger }) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  async *stream(
    nodeId: string,
    requests: AsyncIterable<LayerSharingRequest>,
    signal: AbortSignal,
  ): AsyncGenerator<LayerSharingResponse> {
    this.#end(this.#streams.get(nodeId));
    const stream: Stream = { nodeId, sources: [], grants: [], address: "", held: 0, isOver: false, wake: () => {} };
    if (this.#streams.size === 0) this.#beganAtMs = this.#clock.monotonic();
    this.#streams.set(nodeId, stream);
    this.#following ??= this.#followNodes();
    const onAbort = () => this.#end(stream);
    signal.addEventListener("abort", onAbort, { once: true });
    void this.#read(stream, requests);
    try {
      while (!stream.isOver) {
        if (stream.sources.length + stream.grants.length === 0) {
          await new Promise<void>((resolve) => {
            stream.wake = resolve;
          });
          continue;
        }
        yield LayerSharingResponse.create({ sources: stream.sources.splice(0), grants: stream.grants.splice(0) });
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#end(stream);
    }
  }

  async #read(stream: Stream, requests: AsyncIterable<LayerSharingRequest>): Promise<void> {
    try {
      for await (const request of requests) {
        if (stream.isOver) return;
        this.#receive(stream, request);
      }
    } catch (error) {
      this.#log.debug("layer sharing stream ended", {
        "node.id": stream.nodeId,
        error: SwarmError.from(error).message,
      });
    }
    this.#end(stream);
  }

  #receive(stream: Stream, request: LayerSharingRequest): void {
    const { nodeId } = stream;
    const nowMs = this.#clock.monotonic();
    if (request.port > 0 && request.port <= 65_535) stream.address = this.#addressOf(nodeId, request.port);
    if (request.again) this.#registryAtMs = this.#beganAtMs + rejoinMs;
    if (stream.address !== "") {
      for (const digest of request.held.filter(isDigest)) {
        if (++stream.held > heldMax) break;
        this.#tell(this.#board.hold(nodeId, keyOf(digest), nowMs));
      }
    }
    for (const { digest, image } of request.fetching) {
      if (!isDigest(digest) || !this.#mayHave(nodeId, keyOf(image))) continue;
      this.#tell(this.#board.fetches(nodeId, keyOf(digest), nowMs));
    }
    for (const { digest, image, ...rest } of request.wishes) {
      if (!isDigest(digest)) continue;
      const notFrom = rest.notFrom.slice(0, notFromMax);
      const registryAtMs = this.#registryAtMs;
      const wish = { nodeId, blob: keyOf(digest), image: keyOf(image), notFrom, registryAtMs };
      if (this.#mayHave(nodeId, wish.image)) this.#tell(this.#board.wish(wish, nowMs));
      else this.#tell([{ wish, from: undefined }]);
    }
    for (const digest of request.ended) this.#tell(this.#board.end(nodeId, keyOf(digest), nowMs));
    for (const digest of request.goingOn) this.#board.goesOn(nodeId, keyOf(digest), nowMs);
    if (this.#board.downloads + this.#board.waiting > 0) this.#watchPatience();
  }

  #tell(turns: readonly Turn[]): void {
    for (const { wish, from } of turns) {
      const stream = this.#streams.get(wish.nodeId);
      const giver = from === undefined ? undefined : this.#streams.get(from);
      if (giver !== undefined) {
        giver.grants.push(LayerGrant.create({ nodeId: wish.nodeId, image: bytesOf(wish.image) }));
        giver.wake();
      }
      const { nodeId, address } = giver ?? { nodeId: "", address: "" };
      stream?.sources.push(LayerSource.create({ digest: bytesOf(wish.blob), nodeId, address }));
      stream?.wake();
    }
  }

  #end(stream: Stream | undefined): void {
    if (stream === undefined || stream.isOver) return;
    stream.isOver = true;
    stream.wake();
    if (this.#streams.get(stream.nodeId) === stream) this.#streams.delete(stream.nodeId);
    this.#tell(this.#board.leave(stream.nodeId, this.#clock.monotonic()));
    if (this.#streams.size > 0) return;
    this.#following?.abort();
    this.#following = undefined;
  }

  /** A host that dies doesn't end its stream: what it had and fetched is had elsewhere as soon as its node counts as lost. */
  #followNodes(): AbortController {
    const abort = new AbortController();
    const events = this.#store.watch({ kinds: ["node"], signal: abort.signal });
    void (async () => {
      for await (const event of events) {
        if (event.kind !== "node" || event.action === "create") continue;
        const isLost = event.action === "remove" || event.object.status.state !== NodeStatus_State.READY;
        if (isLost) this.#end(this.#streams.get(event.object.id));
      }
    })().catch((error) => {
      // Nodes that are lost are found out by their silence then.
      if (!abort.signal.aborted)
        this.#log.warn("layer sharing lost the store", { error: SwarmError.from(error).message });
    });
    return abort;
  }

  #watchPatience(): void {
    this.#timer ??= this.#clock.setTimer(expiryPeriodMs, () => {
      this.#timer = undefined;
      this.#tell(this.#board.expire(this.#clock.monotonic()));
      if (this.#board.downloads + this.#board.waiting > 0) this.#watchPatience();
    });
  }

  #addressOf(nodeId: string, port: number): string {
    const host = this.#store.view((tx) => tx.nodes.get(nodeId))?.status.addr ?? "";
    if (host === "") return "";
    return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  }

  /** Whether a task that the node runs, or is to run, names the image by that digest. */
  #mayHave(nodeId: string, image: Wish["image"]): boolean {
    const tasks = this.#store.view((tx) => tx.tasks.find(byNode(nodeId)));
    return tasks.some(({ desiredState, spec }) => {
      const reference = spec.container?.image ?? "";
      return desiredState <= TaskState.COMPLETE && isPinned(reference) && reference.endsWith(`@sha256:${image}`);
    });
  }
}

function isDigest(bytes: Uint8Array): boolean {
  return bytes.length === 32;
}

/** Hexadecimal digits of a digest. */
function keyOf(digest: Uint8Array): string {
  return Buffer.from(digest).toString("hex");
}

function bytesOf(key: string): Uint8Array {
  return Buffer.from(key, "hex");
}
