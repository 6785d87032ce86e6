import * as grpc from "@grpc/grpc-js";
import { Raft, RaftPeer, type StreamRaftMessageRequest, StreamRaftMessageResponse } from "@starling/api";
import { addService } from "@starling/api/rpc";
import { FakeClock, nullLogger, SwarmError } from "@starling/base";
import { type Message, MessageType, newMessage, SnapshotStatus } from "raft-ts";
import { afterEach, describe, expect, it } from "vitest";
import { machineTurn } from "../next-turn.ts";
import { until } from "../testing.ts";
import { grpcDial } from "./channel.ts";
import { Peer } from "./peer.ts";
import { memberRemovedText } from "./receiver.ts";

const [self, other] = [1n, 2n];

/** The other member: a server that takes batches as it is told to. */
class Other {
  readonly received: number[] = [];
  /** Bytes of entries. */
  receivedBytes = 0;
  streams = 0;
  readonly snapshotParts: StreamRaftMessageRequest[] = [];
  /** Thrown to whoever opens a stream or sends a snapshot. */
  refusal: SwarmError | undefined;
  acknowledges = true;
  /** Batches that it acknowledges nevertheless. */
  #excepted = 0;
  addr = "";
  readonly #server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  #end = new AbortController();
  #wake = Promise.withResolvers<void>();

  async start(): Promise<this> {
    const by = { authorize: "local", organization: () => "test", localNodeId: () => "n2" } as const;
    const node = this;
    addService(
      this.#server,
      RaftPeer,
      {
        async *messages(batches, context) {
          node.streams++;
          if (node.refusal) throw node.refusal;
          const ended = AbortSignal.any([node.#end.signal, context.signal]);
          let count = 0;
          for await (const { messages } of batches) {
            for (const { index, entries } of messages) {
              if (index > 0) node.received.push(index);
              for (const { data } of entries) node.receivedBytes += data.length;
            }
            count++;
            while (!node.acknowledges && node.#excepted === 0 && !ended.aborted) await node.#wake.promise;
            if (ended.aborted) return;
            if (!node.acknowledges) node.#excepted--;
            yield { batches: count };
          }
        },
      },
      by,
    );
    addService(
      this.#server,
      Raft,
      {
        processRaftMessage: () => Promise.reject(new SwarmError("Unimplemented", "not used here")),
        resolveAddress: () => Promise.reject(new SwarmError("Unimplemented", "not used here")),
        async streamRaftMessage(requests) {
          for await (const request of requests) node.snapshotParts.push(request);
          if (node.refusal) throw node.refusal;
          return StreamRaftMessageResponse.create();
        },
      },
      by,
    );
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    this.addr = `127.0.0.1:${port}`;
    return this;
  }

  acknowledge(): void {
    this.acknowledges = true;
    this.#wake.resolve();
  }

  acknowledgeOne(): void {
    this.#excepted++;
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  /** Ends each open stream with the next batch; new ones are welcome. */
  endStreams(): void {
    this.#end.abort();
    this.#wake.resolve();
    this.#end = new AbortController();
    this.#wake = Promise.withResolvers();
  }

  stop(): void {
    this.endStreams();
    this.#server.forceShutdown();
  }
}

let there: Other;
let peer: Peer | undefined;
afterEach(async () => {
  await peer?.stop();
  there.stop();
});

/** A peer on a clock that stands still. */
async function connected(snapshot: readonly Uint8Array[] = []) {
  there = await new Other().start();
  const clock = new FakeClock();
  const told: { acknowledged: number; unreachable: number; removed: number; snapshots: SnapshotStatus[] } = {
    acknowledged: 0,
    unreachable: 0,
    removed: 0,
    snapshots: [],
  };
  const made = new Peer({
    ownId: self,
    ownAddr: "10.0.0.1:4242",
    raftId: other,
    addr: there.addr,
    dial: (addr) => {
      const channel = grpcDial(() => grpc.credentials.createInsecure())(addr);
      return {
        ...channel,
        async *messages(...args) {
          for await (const ack of channel.messages(...args)) {
            yield ack;
            told.acknowledged++;
          }
        },
      };
    },
    nextTurn: machineTurn,
    clock,
    log: nullLogger,
    events: {
      unreachable: () => void told.unreachable++,
      removed: () => void told.removed++,
      snapshotSent: (_raftId, status) => void told.snapshots.push(status),
      loadSnapshot: async () => snapshot,
    },
  });
  peer = made;
  await until("the peer answers", () => made.activeSince !== undefined);
  return { peer: made, clock, told };
}

const append = (index: number, bytes = 10): Message =>
  newMessage({
    type: MessageType.MsgApp,
    from: self,
    to: other,
    index,
    entries: [{ term: 1, index, type: 0, data: new Uint8Array(bytes) }],
  });
const snapshotMessage = newMessage({
  type: MessageType.MsgSnap,
  from: self,
  to: other,
  snapshot: {
    data: new Uint8Array(0),
    metadata: {
      index: 9,
      term: 1,
      confState: { voters: [self, other], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
    },
  },
});
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);

describe("a peer's stream", () => {
  it("is one for everything, and keeps the order", async () => {
    const { peer, told } = await connected();
    for (let i = 1; i <= 500; i++) {
      peer.send(append(i));
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until("all have arrived", () => there.received.length === 500);
    expect(there.received).toEqual(upTo(500));
    expect(there.streams).toBe(1);
    expect(told.unreachable).toBe(0);
  });

  it("holds back what the peer has not acknowledged, drops and reports what waits too long, and goes on in order", async () => {
    const { peer, told } = await connected();
    const mebibyte = 1024 * 1024;
    there.acknowledges = false;
    let sent = 0;
    while (told.unreachable === 0) {
      peer.send(append(++sent, mebibyte));
      await new Promise((resolve) => setImmediate(resolve));
      expect(sent).toBeLessThan(60);
    }
    const accepted = sent - 1;
    // 32 MiB may wait, and 8 MiB (with the batch that goes beyond it) be on their way.
    expect(accepted).toBeGreaterThanOrEqual(31);
    expect(accepted).toBeLessThanOrEqual(42);
    expect(there.receivedBytes).toBeLessThanOrEqual(9 * mebibyte);
    there.acknowledge();
    await until("what was taken has arrived", () => there.received.length === accepted, 60_000);
    expect(there.received).toEqual(upTo(accepted));
    expect(there.streams).toBe(1);
  });

  it("that breaks is reported, and made anew after a delay", async () => {
    const { peer, clock, told } = await connected();
    peer.send(append(1));
    await until("it has arrived", () => there.received.length === 1);
    there.acknowledges = false;
    peer.send(append(2));
    await until("it has arrived", () => there.received.length === 2);
    there.endStreams();
    await until("its end is reported", () => told.unreachable === 1);
    expect(peer.activeSince).toBeUndefined();
    there.acknowledge();
    await clock.advance(50);
    await until("the peer answers again", () => peer.activeSince !== undefined);
    peer.send(append(3));
    await until("it has arrived", () => there.received.includes(3));
    expect(there.streams).toBe(2);
  });

  it("takes what was sent before it was made: the one that broke does not", async () => {
    const { peer, clock, told } = await connected();
    there.endStreams();
    peer.send(append(1));
    await until("its end is reported", () => told.unreachable === 1);
    peer.send(append(2));
    // The turns of the event loop in which the old stream would take it.
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(50);
    await until("it has arrived", () => there.received.includes(2));
    peer.send(append(3));
    await until("so has the next", () => there.received.includes(3));
    expect(there.streams).toBe(2);
  });

  it("on which nothing is acknowledged for 3 s is given up", async () => {
    const { peer, clock, told } = await connected();
    there.acknowledges = false;
    peer.send(append(1));
    await until("it has arrived", () => there.received.length === 1);
    await clock.advance(2_500);
    expect(told.unreachable).toBe(0);
    await clock.advance(1_000);
    await until("the peer counts as lost", () => told.unreachable === 1);
    expect(peer.activeSince).toBeUndefined();
  });

  it("stays while the peer acknowledges, however far it lags", async () => {
    const { peer, clock, told } = await connected();
    there.acknowledges = false;
    for (let i = 1; i <= 4; i++) {
      peer.send(append(i));
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (let i = 1; i <= 4; i++) {
      await until("the next has arrived", () => there.received.length >= i);
      await clock.advance(2_500);
      const { acknowledged } = told;
      there.acknowledgeOne();
      await until("it is acknowledged", () => told.acknowledged > acknowledged);
    }
    expect(told.unreachable).toBe(0);
    expect(there.streams).toBe(1);
  });

  it("refused with the news of the removal tells it", async () => {
    const { peer, clock, told } = await connected();
    there.refusal = new SwarmError("NotFound", memberRemovedText);
    there.endStreams();
    peer.send(append(1));
    await until("its end is reported", () => told.unreachable === 1);
    await clock.advance(50);
    await until("the removal is told", () => told.removed === 1);
  });
});

describe("a snapshot", () => {
  it("goes beside the stream, in messages of a mebibyte, and its end is reported", async () => {
    const chunks = [300_000, 2_500_000, 10].map((length, i) => new Uint8Array(length).fill(i + 1));
    const { peer, told } = await connected(chunks);
    peer.send(snapshotMessage);
    peer.send(append(1));
    await until("it is sent", () => told.snapshots.length === 1);
    expect(told.snapshots).toEqual([SnapshotStatus.SnapshotFinish]);
    const parts = there.snapshotParts.map(({ message }) => message!.snapshot!);
    expect(parts.map(({ data }) => data.length)).toEqual([1_048_576, 1_048_576, 702_858]);
    expect(Buffer.concat(parts.map(({ data }) => data)).equals(Buffer.concat(chunks))).toBe(true);
    expect(parts.every(({ metadata }) => metadata?.index === 9)).toBe(true);
    await until("the message behind it has arrived", () => there.received.includes(1));
  });

  it("that is refused, or that cannot be sent, is reported as failed", async () => {
    const { peer, told } = await connected([new Uint8Array(10)]);
    there.refusal = new SwarmError("ResourceExhausted", "no room");
    peer.send(snapshotMessage);
    await until("its failure is reported", () => told.snapshots.length === 1);
    there.endStreams();
    peer.send(append(1));
    await until("the stream's end is reported", () => told.unreachable === 1);
    peer.send(snapshotMessage);
    await until("the next failure is reported", () => told.snapshots.length === 2);
    expect(told.snapshots).toEqual([SnapshotStatus.SnapshotFailure, SnapshotStatus.SnapshotFailure]);
  });
});
