import type { RaftBatch } from "@starling/api";
import { type Clock, type Logger, type Millis, SwarmError, type Timer } from "@starling/base";
import { type Message, MessageType, SnapshotStatus } from "raft-ts";
import type { NextTurn } from "../next-turn.ts";
import { sentBatches, sentMessages } from "../raft-metrics.ts";
import type { Dial, PeerChannel } from "./channel.ts";
import { approximateBytes, toWire } from "./message-codec.ts";
import { memberRemovedText } from "./receiver.ts";
import { snapshotMessages } from "./snapshot-messages.ts";

/** What a peer's connection tells and asks its node. */
export interface PeerEvents {
  /** A message was lost, or would be. */
  unreachable(raftId: bigint): void;
  /** How sending a snapshot ended. */
  snapshotSent(raftId: bigint, status: SnapshotStatus): void;
  /** The peer says that this member was removed from the group. */
  removed(): void;
  /** The encoded snapshot at `index`, in chunks. */
  loadSnapshot(index: number): Promise<readonly Uint8Array[]>;
}

export interface PeerOptions {
  readonly ownId: bigint;
  readonly ownAddr: string;
  readonly raftId: bigint;
  readonly addr: string;
  readonly dial: Dial;
  readonly nextTurn: NextTurn;
  /** Bytes of a snapshot that go in one message. */
  readonly snapshotPartBytes?: number | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: PeerEvents;
}

const batchBytesMax = 512 * 1024;
/** Sent and not acknowledged; beyond it messages wait in the queue. */
const inflightBytesMax = 8 * 1024 * 1024;
/** Waiting; beyond it messages are dropped, which raft is told. */
const queueBytesMax = 32 * 1024 * 1024;
const snapshotPartBytes = 1024 * 1024;
const connectTimeoutMs = 2_000;
/** No acknowledgement for so long, of batches on their way, means that the peer hangs or the path is cut: one that lags only is slow. */
const ackTimeoutMs = 3_000;
/** News of the commit index alone may wait so long for company: a busy leader's next entries carry it for nothing. */
const lazyMs = 2;
/** An empty batch asks for an acknowledgement after so long without one. */
const helloMs = 1_900;
/** How often that is looked at. */
const watchMs = 700;
const firstBackoffMs = 50;
const lastBackoffMs = 1_000;

/**
 * The sending side of one long-lived stream to a peer. Order is kept; what cannot be sent is dropped and reported: raft
 * sends again what matters. The stream is dropped at its first error and made anew with a growing delay.
 */
export class Peer {
  readonly #options: PeerOptions;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  #addr: string;
  #queue: Message[] = [];
  #queueBytes = 0;
  /** Sizes and times of batches not acknowledged. */
  #inflight: { readonly bytes: number; readonly at: Millis }[] = [];
  #inflightBytes = 0;
  #ackedBatches = 0;
  #ackedAt: Millis = 0;
  /** An empty batch is to be sent. */
  #hello = false;
  #wake: (() => void) | undefined;
  #lazy: Timer | undefined;
  #channel: PeerChannel | undefined;
  #attempt = new AbortController();
  #pause = new AbortController();
  #activeSince: Millis | undefined;

  constructor(options: PeerOptions) {
    this.#options = options;
    this.#addr = options.addr;
    this.#done = this.#run();
  }

  get addr(): string {
    return this.#addr;
  }

  /** Since when the peer answers on the stream; undefined when it does not. */
  get activeSince(): Millis | undefined {
    return this.#activeSince;
  }

  /** Sends, or drops and reports. Never waits. */
  send(message: Message): void {
    if (message.type === MessageType.MsgSnap) {
      void this.#sendSnapshot(message);
      return;
    }
    const bytes = approximateBytes(message);
    if (this.#queueBytes + bytes > queueBytesMax) {
      this.#options.events.unreachable(this.#options.raftId);
      return;
    }
    this.#queue.push(message);
    this.#queueBytes += bytes;
    const carriesNothing = message.type === MessageType.MsgApp && message.entries.length === 0;
    if (!carriesNothing) this.#wake?.();
    else this.#lazy ??= this.#options.clock.setTimer(lazyMs, () => this.#sendLazily());
  }

  /** The peer gave a sign of life: connect now instead of after the delay. */
  nudge(): void {
    this.#pause.abort();
  }

  /** The member moved: the next stream goes to `addr`. */
  setAddress(addr: string): void {
    if (addr === this.#addr) return;
    this.#addr = addr;
    this.#attempt.abort(new SwarmError("Unavailable", "the peer's address changed"));
  }

  /** Ends the stream, after what is queued is acknowledged or `drainMs` is over. */
  async stop(drainMs: Millis = 0): Promise<void> {
    const { clock } = this.#options;
    const deadline = clock.monotonic() + drainMs;
    // An empty batch brings the acknowledgement of all before it.
    this.#hello = true;
    this.#wake?.();
    while ((this.#queue.length > 0 || this.#inflight.length > 0) && clock.monotonic() < deadline) await clock.sleep(10);
    this.#stop.abort(new SwarmError("Cancelled", "raft transport stops"));
    this.#attempt.abort(this.#stop.signal.reason);
    await this.#done;
  }

  async #run(): Promise<void> {
    const { clock, log, raftId, events } = this.#options;
    let backoffMs = firstBackoffMs;
    while (!this.#stop.signal.aborted) {
      this.#attempt = new AbortController();
      const channel = this.#options.dial(this.#addr);
      const wasActive = await this.#connect(channel).then(
        () => true,
        (thrown: unknown) => {
          const error = SwarmError.from(thrown);
          if (error.code === "NotFound" && error.message.includes(memberRemovedText)) events.removed();
          const active = this.#activeSince !== undefined;
          if (active && !this.#stop.signal.aborted) {
            log.info("raft peer lost", { "raft.peer": raftId.toString(16), addr: this.#addr, error });
          }
          return active;
        },
      );
      this.#channel = undefined;
      channel.close();
      // Its generator may still wait for something to send: it must not take what is meant for the next stream.
      this.#attempt.abort(new SwarmError("Cancelled", "the stream has ended"));
      this.#drop();
      if (this.#stop.signal.aborted) return;
      events.unreachable(raftId);
      if (wasActive) backoffMs = firstBackoffMs;
      this.#pause = new AbortController();
      const ended = AbortSignal.any([this.#stop.signal, this.#pause.signal]);
      await clock.sleep(backoffMs, ended).catch(() => undefined);
      backoffMs = Math.min(backoffMs * 2, lastBackoffMs);
    }
  }

  /** One stream from its start to its end. */
  async #connect(channel: PeerChannel): Promise<void> {
    const { clock, log, raftId } = this.#options;
    const { signal } = this.#attempt;
    await Promise.race([channel.waitReady(connectTimeoutMs), rejectOnAbort(signal)]);
    this.#channel = channel;
    let timer: Timer | undefined;
    const watch = () => {
      const oldest = this.#inflight[0];
      const waitedMs = oldest === undefined ? 0 : clock.monotonic() - Math.max(oldest.at, this.#ackedAt);
      if (waitedMs > ackTimeoutMs) {
        this.#attempt.abort(new SwarmError("Unavailable", `no acknowledgement for ${ackTimeoutMs} ms`));
        return;
      }
      this.#hello ||= waitedMs > helloMs;
      if (this.#hello) this.#wake?.();
      timer = clock.setTimer(watchMs, watch);
    };
    watch();
    try {
      for await (const { batches } of channel.messages(this.#batches(signal), signal)) {
        this.#acknowledged(batches);
        if (this.#activeSince !== undefined) continue;
        this.#activeSince = clock.monotonic();
        log.info("raft peer connected", { "raft.peer": raftId.toString(16), addr: this.#addr });
      }
      throw new SwarmError("Unavailable", "the peer ended the stream");
    } finally {
      timer?.cancel();
    }
  }

  /** What goes into the stream: first an empty batch, which the peer's answer turns into "active". */
  async *#batches(signal: AbortSignal): AsyncGenerator<RaftBatch> {
    const { ownId: from, ownAddr, raftId: to, clock } = this.#options;
    let addr = ownAddr;
    this.#ackedBatches = 0;
    this.#hello = true;
    while (!signal.aborted) {
      const messages: Message[] = [];
      let bytes = 0;
      while (this.#queue.length > messages.length && bytes < batchBytesMax && this.#inflightBytes < inflightBytesMax) {
        const next = this.#queue[messages.length]!;
        messages.push(next);
        bytes += approximateBytes(next);
      }
      if (messages.length === 0 && !this.#hello) {
        await this.#woken(signal);
        continue;
      }
      this.#hello &&= messages.length > 0;
      this.#queue.splice(0, messages.length);
      this.#queueBytes -= bytes;
      this.#inflight.push({ bytes, at: clock.monotonic() });
      this.#inflightBytes += bytes;
      sentBatches.inc();
      sentMessages.inc(messages.length);
      yield { from, to, addr, messages: messages.map(toWire) };
      addr = "";
    }
  }

  /** Resolves when there is something to send: one turn of the event loop later, so that what comes together goes together. */
  #woken(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#wake = undefined;
        signal.removeEventListener("abort", wake);
        this.#options.nextTurn(resolve);
      };
      this.#wake = wake;
      signal.addEventListener("abort", wake, { once: true });
    });
  }

  #sendLazily(): void {
    this.#lazy = undefined;
    if (this.#queue.length > 0) this.#wake?.();
  }

  #acknowledged(batches: number): void {
    if (batches > this.#ackedBatches) this.#ackedAt = this.#options.clock.monotonic();
    for (; this.#ackedBatches < batches; this.#ackedBatches++) {
      const batch = this.#inflight.shift();
      this.#inflightBytes -= batch?.bytes ?? 0;
    }
    if (this.#queue.length > 0) this.#wake?.();
  }

  /** The stream is gone, and with it everything that was on its way. */
  #drop(): void {
    this.#activeSince = undefined;
    this.#queue = [];
    this.#queueBytes = 0;
    this.#inflight = [];
    this.#inflightBytes = 0;
  }

  /** Snapshots go beside the stream, in parts, as Swarm sends them: nothing waits behind them. */
  async #sendSnapshot(message: Message): Promise<void> {
    const { events, raftId, log } = this.#options;
    const index = message.snapshot!.metadata.index;
    const channel = this.#channel;
    try {
      if (channel === undefined) throw new SwarmError("Unavailable", "the peer is not connected");
      const chunks = await events.loadSnapshot(index);
      const bytes = chunks.reduce((sum, { length }) => sum + length, 0);
      log.info("raft snapshot: sending", { "raft.peer": raftId.toString(16), index, bytes });
      const partBytes = this.#options.snapshotPartBytes ?? snapshotPartBytes;
      await channel.snapshot(snapshotMessages(message, chunks, partBytes), this.#attempt.signal);
      events.snapshotSent(raftId, SnapshotStatus.SnapshotFinish);
    } catch (thrown) {
      if (this.#stop.signal.aborted) return;
      log.warn("raft snapshot: sending failed", { "raft.peer": raftId.toString(16), index, error: thrown });
      events.snapshotSent(raftId, SnapshotStatus.SnapshotFailure);
    }
  }
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
