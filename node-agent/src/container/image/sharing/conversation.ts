import { LayerSharingRequest, type LayerSharingResponse, LayerWish } from "@starling/api";
import { type Clock, type Logger, type Millis, SwarmError, type Timer } from "@starling/base";
import { hexOf } from "@starling/registry";

/** A node that has had no manager to talk to for this long goes to the registry alone. */
const managerPatienceMs: Millis = 3_000;
/** However long others take, this node's turn comes. */
const turnPatienceMs: Millis = 10 * 60_000;
const tickMs: Millis = 5_000;
/** Digests in one message. */
const batch = 1_000;
const backoffMs = { first: 50, max: 1_000 };

/** Where a blob is to be had. */
export type Source =
  | { readonly t: "registry" }
  | { readonly t: "peer"; readonly nodeId: string; readonly address: string };

interface Asking {
  readonly wish: LayerWish;
  readonly answer: (source: Source) => void;
}

interface Moving {
  readonly wish: LayerWish;
  /** Bytes came since the last tick. */
  hasMoved: boolean;
}

/** What the conversation tells managers of this node, and hears of others. */
export interface Subject {
  /** Of the blob server; 0: none. */
  readonly port: number;
  /** Digests of all blobs here. */
  held(): Promise<readonly string[]>;
  /** Another node may have the image's blobs. `image` is hexadecimal digits. */
  allow(nodeId: string, image: string): void;
}

/**
 * What a node and the leader tell each other about blobs. Wishes wait here while there is no leader, but not for long: without
 * managers every node goes to the registry.
 */
export class Conversation {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #subject: Subject;
  /** By blob; more than one when pulls with different credentials want it. */
  readonly #asking = new Map<string, Set<Asking>>();
  /** Blobs that this node downloads. */
  readonly #moving = new Map<string, Moving>();
  #outbox: LayerSharingRequest[] = [];
  #wake = () => {};
  /** While something is downloaded. */
  #tick: Timer | undefined;
  #isConnected = false;
  /** There was a stream before this one. */
  #hasTalked = false;
  /** Since when there is no manager to talk to. */
  #lostAtMs: Millis;
  /** Managers that don't know this service. */
  #isUnsupported = false;

  constructor(options: { readonly clock: Clock; readonly log: Logger; readonly subject: Subject }) {
    this.#clock = options.clock;
    this.#lostAtMs = options.clock.monotonic();
    this.#log = options.log;
    this.#subject = options.subject;
  }

  /** Resolves when it is this node's turn to get the blob; `end` must follow. */
  async ask(
    blob: string,
    options: { readonly image: string; readonly notFrom: readonly string[]; readonly signal: AbortSignal },
  ): Promise<Source> {
    const { image, notFrom, signal } = options;
    signal.throwIfAborted();
    if (this.#isUnsupported) return { t: "registry" };
    const wish = LayerWish.create({ digest: bytesOf(blob), image: bytesOf(image), notFrom });
    const { promise, resolve, reject } = Promise.withResolvers<Source>();
    const toRegistry = () => resolve({ t: "registry" });
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const turn = this.#clock.setTimer(turnPatienceMs, toRegistry);
    const patienceMs = Math.max(0, this.#lostAtMs + managerPatienceMs - this.#clock.monotonic());
    const manager = this.#clock.setTimer(patienceMs, () => {
      if (!this.#isConnected) toRegistry();
    });
    const asking: Asking = { wish, answer: resolve };
    const others = this.#asking.get(blob) ?? new Set();
    this.#asking.set(blob, others.add(asking));
    if (this.#isConnected) this.#tellWishes([asking]);
    try {
      const source = await promise;
      this.#moving.set(blob, { wish, hasMoved: true });
      this.#tick ??= this.#clock.setTimer(tickMs, () => this.#tellMoving());
      return source;
    } finally {
      others.delete(asking);
      if (others.size === 0 && this.#asking.get(blob) === others) this.#asking.delete(blob);
      signal.removeEventListener("abort", onAbort);
      turn.cancel();
      manager.cancel();
    }
  }

  /** Bytes of the blob came. */
  moved(blob: string): void {
    const moving = this.#moving.get(blob);
    if (moving !== undefined) moving.hasMoved = true;
  }

  /** The blob is here, or this node has given it up. */
  end(blob: string): void {
    this.#moving.delete(blob);
    this.#send({ ended: [bytesOf(blob)] });
  }

  hold(blob: string): void {
    this.#send({ held: [bytesOf(blob)] });
  }

  /** Talks through `open` until the signal aborts; a stream that ends is opened anew, after a while that doubles. */
  async run(
    open: (requests: AsyncIterable<LayerSharingRequest>, signal: AbortSignal) => AsyncIterable<LayerSharingResponse>,
    signal: AbortSignal,
  ): Promise<void> {
    let backoff = backoffMs.first;
    while (!signal.aborted) {
      const ended = new AbortController();
      const onAbort = () => ended.abort(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        this.#outbox = [];
        this.#isConnected = true;
        this.#tellWishes([...this.#asking.values()].flatMap((each) => [...each]));
        for await (const response of open(this.#requests(ended.signal), ended.signal)) {
          backoff = backoffMs.first;
          this.#hear(response);
        }
      } catch (error) {
        const { code, message } = SwarmError.from(error);
        this.#isUnsupported = code === "Unimplemented";
        if (!signal.aborted) this.#log.debug("layer sharing stream ended", { error: message });
      } finally {
        this.#isConnected = false;
        this.#lostAtMs = this.#clock.monotonic();
        ended.abort();
        this.#wake();
        signal.removeEventListener("abort", onAbort);
      }
      this.#unanswered();
      if (signal.aborted || this.#isUnsupported) return;
      // Aborted while asleep: the loop's condition ends it.
      await this.#clock.sleep(backoff, signal).catch(() => {});
      backoff = Math.min(backoff * 2, backoffMs.max);
    }
  }

  async *#requests(signal: AbortSignal): AsyncGenerator<LayerSharingRequest> {
    const held = (await this.#subject.held()).map(bytesOf);
    const fetching = [...this.#moving.values()].map(({ wish }) => wish);
    const again = this.#hasTalked;
    this.#hasTalked = true;
    yield LayerSharingRequest.create({ port: this.#subject.port, again, fetching, held: held.slice(0, batch) });
    for (let at = batch; at < held.length; at += batch) {
      yield LayerSharingRequest.create({ held: held.slice(at, at + batch) });
    }
    while (!signal.aborted) {
      const next = this.#outbox.shift();
      if (next !== undefined) yield next;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  #hear({ sources, grants }: LayerSharingResponse): void {
    for (const { nodeId, image } of grants) this.#subject.allow(nodeId, keyOf(image));
    for (const { digest, nodeId, address } of sources) {
      const blob = `sha256:${keyOf(digest)}`;
      const source: Source = nodeId === "" ? { t: "registry" } : { t: "peer", nodeId, address };
      for (const { answer } of this.#asking.get(blob) ?? []) answer(source);
    }
  }

  #tellWishes(asking: readonly Asking[]): void {
    if (asking.length > 0) this.#send({ wishes: asking.map(({ wish }) => wish) });
  }

  #send(fields: Partial<LayerSharingRequest>): void {
    // Whoever answers next is told everything anew.
    if (!this.#isConnected) return;
    this.#outbox.push(LayerSharingRequest.create(fields));
    this.#wake();
  }

  #tellMoving(): void {
    const moved = [...this.#moving.values()].filter(({ hasMoved }) => hasMoved);
    for (const each of moved) each.hasMoved = false;
    const goingOn = moved.map(({ wish }) => wish.digest);
    if (goingOn.length > 0) this.#send({ goingOn });
    this.#tick = this.#moving.size === 0 ? undefined : this.#clock.setTimer(tickMs, () => this.#tellMoving());
  }

  /** Those who ask wait for the next stream, for a while. */
  #unanswered(): void {
    const waiting = [...this.#asking.values()].flatMap((each) => [...each]);
    this.#clock.setTimer(managerPatienceMs, () => {
      if (!this.#isConnected) for (const { answer } of waiting) answer({ t: "registry" });
    });
    if (this.#isUnsupported) for (const { answer } of waiting) answer({ t: "registry" });
  }
}

function bytesOf(digest: string): Uint8Array {
  return Buffer.from(hexOf(digest), "hex");
}

function keyOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
