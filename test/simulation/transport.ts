import { Metadata } from "@grpc/grpc-js";
import type { RaftBatch } from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { type Millis, SwarmError } from "@starling/base";
import { type PeerEvents, type PeerTransport, type RaftHandlers, snapshotMessages, toWire } from "@starling/raft-node";
import { type Message, MessageType, SnapshotStatus } from "raft-ts";
import type { SimNetwork } from "./network.ts";
import type { Process, Schedule } from "./schedule.ts";

/** A host as its peers' transports see it. */
export interface RaftEndpoint {
  readonly name: string;
  readonly addr: string;
  readonly process: Process | undefined;
  readonly handlers: RaftHandlers | undefined;
}

/** A transport of which a test can break the streams. */
export interface BreakableTransport extends PeerTransport {
  /** Names of the open ones. */
  readonly streams: readonly string[];
  /** The stream breaks; the next message makes it anew. False when it is not open. */
  reset(stream: string): boolean;
}

/** Snapshots of the simulation are small, and go in several parts all the same. */
export const snapshotPartBytes = 400;

interface Peer {
  addr: string;
  heardAt: Millis | undefined;
  activeSince: Millis | undefined;
}

interface Stream {
  readonly target: RaftEndpoint;
  readonly to: Process;
  readonly end: AbortController;
}

/** A peer that was not heard of for so long does not answer. */
const silenceMs = 3_000;

/**
 * One node's sending side in the simulated network. Messages go one by one to the receiver's own handlers, so each may be
 * lost, doubled and overtaken; snapshots go in parts. Beside them a stream per peer tells the receiver who is connected.
 */
export class SimTransport implements BreakableTransport {
  readonly #self: RaftEndpoint;
  readonly #process: Process;
  readonly #ownId: bigint;
  readonly #events: PeerEvents;
  readonly #net: SimNetwork;
  readonly #schedule: Schedule;
  readonly #find: (addr: string) => RaftEndpoint | undefined;
  readonly #sent: (message: Message) => void;
  readonly #peers = new Map<bigint, Peer>();
  readonly #streams = new Map<bigint, Stream>();

  constructor(options: {
    readonly self: RaftEndpoint;
    readonly process: Process;
    readonly ownId: bigint;
    readonly events: PeerEvents;
    readonly net: SimNetwork;
    readonly schedule: Schedule;
    readonly find: (addr: string) => RaftEndpoint | undefined;
    /** Sees every message before it leaves. */
    readonly sent: (message: Message) => void;
  }) {
    this.#self = options.self;
    this.#process = options.process;
    this.#ownId = options.ownId;
    this.#events = options.events;
    this.#net = options.net;
    this.#schedule = options.schedule;
    this.#find = options.find;
    this.#sent = options.sent;
  }

  setPeer(raftId: bigint, addr: string): void {
    if (raftId === this.#ownId) return;
    const peer = this.#peers.get(raftId);
    if (peer) peer.addr = addr;
    else this.#peers.set(raftId, { addr, heardAt: undefined, activeSince: undefined });
  }

  removePeer(raftId: bigint): void {
    this.#peers.delete(raftId);
    this.#endStream(raftId);
  }

  retain(keep: (raftId: bigint) => boolean): void {
    for (const raftId of [...this.#peers.keys()]) if (!keep(raftId)) this.removePeer(raftId);
  }

  nudge(): void {}

  activeSince(raftId: bigint): Millis | undefined {
    const peer = this.#peers.get(raftId);
    if (peer?.heardAt === undefined || this.#schedule.now - peer.heardAt > silenceMs) return undefined;
    return peer.activeSince;
  }

  send(message: Message): void {
    this.#sent(message);
    const raftId = message.to;
    const peer = this.#peers.get(raftId);
    const target = peer && this.#find(peer.addr);
    if (peer === undefined || target === undefined) {
      this.#events.unreachable(raftId);
      return;
    }
    if (message.type === MessageType.MsgSnap) {
      void this.#sendSnapshot(message, target);
      return;
    }
    const wire = toWire(message);
    const call = async () => {
      this.#arrived(raftId, target);
      await target.handlers?.raft.processRaftMessage({ message: wire }, context(this.#self.name));
    };
    this.#net.send(
      this.#self,
      target,
      () => void call().catch((thrown) => this.#refused(raftId, target, thrown)),
      () => this.#lost(raftId),
    );
  }

  /** Ends the streams to all peers: what they see when this process dies. Where the path is cut nobody sees it. */
  async stop(): Promise<void> {
    for (const raftId of [...this.#streams.keys()]) this.#endStream(raftId);
    this.#peers.clear();
  }

  reset(stream: string): boolean {
    return this.#endStream(BigInt(stream));
  }

  get streams(): readonly string[] {
    return [...this.#streams.keys()].map(String);
  }

  /** A message reached `target`: it is connected, and answers if the way back is open. */
  #arrived(raftId: bigint, target: RaftEndpoint): void {
    const { process, handlers } = target;
    const peer = this.#peers.get(raftId);
    if (process === undefined || handlers === undefined || peer === undefined || !this.#process.alive) return;
    if (this.#net.reaches(target.name, this.#self.name)) {
      const { now } = this.#schedule;
      if (this.activeSince(raftId) === undefined) peer.activeSince = now;
      peer.heardAt = now;
    }
    const stream = this.#streams.get(raftId);
    if (stream?.to === process) return;
    const end = new AbortController();
    this.#streams.set(raftId, { target, to: process, end });
    void this.#hold(raftId, target, handlers, end.signal);
  }

  async #hold(raftId: bigint, target: RaftEndpoint, handlers: RaftHandlers, signal: AbortSignal): Promise<void> {
    try {
      const requests = hello({ from: this.#ownId, to: raftId, addr: this.#self.addr, messages: [] }, signal);
      for await (const _ of handlers.peer.messages(requests, context(this.#self.name, signal))) {
        // An acknowledgement of the hello.
      }
    } catch (thrown) {
      this.#refused(raftId, target, thrown);
    }
    if (this.#streams.get(raftId)?.end.signal === signal) this.#streams.delete(raftId);
  }

  #endStream(raftId: bigint): boolean {
    const stream = this.#streams.get(raftId);
    if (stream === undefined) return false;
    this.#streams.delete(raftId);
    const seen = this.#net.reaches(this.#self.name, stream.target.name);
    this.#schedule.after(seen ? 1 : silenceMs, stream.to, () => stream.end.abort());
    return true;
  }

  /** The receiver answered with an error. */
  #refused(raftId: bigint, target: RaftEndpoint, thrown: unknown): void {
    const { code } = SwarmError.from(thrown);
    if (code !== "NotFound") return;
    this.#net.send(target, { name: this.#self.name, process: this.#process }, () => {
      if (this.#peers.has(raftId)) this.#events.removed();
    });
  }

  #lost(raftId: bigint): void {
    const peer = this.#peers.get(raftId);
    if (peer) peer.heardAt = undefined;
    this.#events.unreachable(raftId);
  }

  async #sendSnapshot(message: Message, target: RaftEndpoint): Promise<void> {
    const index = message.snapshot!.metadata.index;
    const done = (status: SnapshotStatus) => this.#events.snapshotSent(message.to, status);
    let chunks: readonly Uint8Array[];
    try {
      chunks = await this.#events.loadSnapshot(index);
    } catch {
      return done(SnapshotStatus.SnapshotFailure);
    }
    const call = async () => {
      await target.handlers?.raft.streamRaftMessage(
        snapshotMessages(message, chunks, snapshotPartBytes),
        context(this.#self.name),
      );
    };
    let settled = false;
    const settle = (status: SnapshotStatus) => {
      if (!settled) done(status);
      settled = true;
    };
    this.#net.send(
      this.#self,
      target,
      () =>
        void call().then(
          () => this.#net.send(target, this.#self, () => settle(SnapshotStatus.SnapshotFinish)),
          (thrown) => this.#refused(message.to, target, thrown),
        ),
      () => settle(SnapshotStatus.SnapshotFailure),
    );
    this.#schedule.after(silenceMs, this.#process, () => settle(SnapshotStatus.SnapshotFailure));
  }
}

async function* hello(batch: RaftBatch, signal: AbortSignal): AsyncGenerator<RaftBatch> {
  yield batch;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

const metadata = new Metadata();
const never = new AbortController().signal;

export function context(nodeId: string, signal: AbortSignal = never): CallContext {
  const caller = { nodeId, roles: ["swarm-manager"], organization: "sim", forwarded: false };
  return { caller, signal, remoteAddress: `${nodeId}:1`, metadata };
}
