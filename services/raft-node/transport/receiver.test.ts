import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Metadata } from "@grpc/grpc-js";
import { RaftBatch, StreamRaftMessageRequest } from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { type Message, MessageType, newMessage, type Snapshot } from "raft-ts";
import { describe, expect, it } from "vitest";
import { toWire } from "./message-codec.ts";
import { peerHandlers, type Receiver, raftHandlers } from "./receiver.ts";
import { partsOfData } from "./snapshot-parts.ts";

const [self, peer, removed] = [1n, 2n, 3n];

function receiver(stepped: Message[]): Receiver {
  return {
    raftId: self,
    isRemoved: (raftId) => raftId === removed,
    addressOf: () => undefined,
    step: (message) => void stepped.push(message),
    streamOpened() {},
    streamEnded() {},
    stopping: new AbortController().signal,
  };
}

const context: CallContext = {
  caller: { nodeId: "n2", roles: [], organization: "", forwarded: false },
  signal: new AbortController().signal,
  remoteAddress: "",
  metadata: new Metadata(),
};

/** What `sender`'s stream brings to the node's raft. Rejects as the stream does. */
async function stream(sender: bigint, ...messages: Message[]): Promise<Message[]> {
  const stepped: Message[] = [];
  async function* batches(): AsyncGenerator<RaftBatch> {
    yield { from: sender, to: self, addr: "", messages: messages.map(toWire) };
  }
  for await (const _ of peerHandlers(receiver(stepped)).messages(batches(), context)) {
    // Acknowledgements.
  }
  return stepped;
}

const heartbeat = (from: bigint) => newMessage({ type: MessageType.MsgHeartbeat, from, to: self, term: 1 });

it("a removed member's stream ends with the news of its removal", async () => {
  await expect(stream(removed, heartbeat(removed))).rejects.toMatchObject({ code: "NotFound" });
});

it("whoever is not removed may ask for a vote: this member may lag behind the sender's coming", async () => {
  const vote = newMessage({ type: MessageType.MsgPreVote, from: 9n, to: self, term: 3 });
  expect(await stream(9n, vote)).toMatchObject([{ type: MessageType.MsgPreVote, from: 9n }]);
});

it("a member that passes on a removed member's read is not told that it was removed itself", async () => {
  const passedOn = newMessage({ type: MessageType.MsgReadIndex, from: removed, to: self });
  const stepped = await stream(peer, passedOn, heartbeat(peer));
  expect(stepped.map(({ type, from }) => ({ type, from }))).toEqual([{ type: MessageType.MsgHeartbeat, from: peer }]);
});

describe("memory", () => {
  const append = (index: number, bytes: number) =>
    newMessage({
      type: MessageType.MsgApp,
      from: peer,
      to: self,
      entries: [{ term: 1, index, type: 0, data: new Uint8Array(bytes) }],
    });

  it("of a batch is free again while its stream goes on", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const handlers = peerHandlers({ ...receiver([]), step: () => undefined });
    const batches: WeakRef<RaftBatch>[] = [];
    async function* source(): AsyncGenerator<RaftBatch> {
      for (let i = 1; i <= 100; i++) {
        const batch = { from: peer, to: self, addr: "", messages: [toWire(append(i, 100))] };
        batches.push(new WeakRef(batch));
        yield batch;
      }
      // What the last turns still hold is theirs; the stream is open here.
      await new Promise((resolve) => setImmediate(resolve));
      collect();
      expect(batches.filter((batch) => batch.deref() !== undefined).length).toBeLessThan(10);
    }
    for await (const _ of handlers.messages(source(), context)) {
      // Acknowledgements.
    }
    expect(batches.length).toBe(100);
  });

  it("of an entry is its own, not that of the message it came in", async () => {
    const stepped: Message[] = [];
    const message = { ...append(1, 100), entries: [1, 2].map((index) => append(index, 100).entries[0]!) };
    const received = RaftBatch.decode(
      Buffer.from(RaftBatch.encode({ from: peer, to: self, addr: "", messages: [toWire(message)] })),
    );
    async function* source() {
      yield received;
    }
    for await (const _ of peerHandlers(receiver(stepped)).messages(source(), context)) {
      // Acknowledgements.
    }
    expect(stepped[0]!.entries.map(({ data }) => data.buffer.byteLength)).toEqual([100, 100]);
  });
});

describe("Swarm's Raft service", () => {
  const metadata = {
    index: 7,
    term: 2,
    confState: { voters: [1n, 2n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
  };
  const snapshot = (data: string): Snapshot => ({ data: Buffer.from(data), metadata });
  const part = (message: Message) => StreamRaftMessageRequest.create({ message: toWire(message) });
  async function* sent(...parts: StreamRaftMessageRequest[]) {
    yield* parts;
  }

  it("takes single messages, and refuses those of a removed member", async () => {
    const stepped: Message[] = [];
    const { processRaftMessage } = raftHandlers(receiver(stepped));
    await processRaftMessage({ message: toWire(heartbeat(peer)) }, context);
    await processRaftMessage({ message: undefined }, context);
    await processRaftMessage({ message: toWire({ ...heartbeat(peer), to: 9n }) }, context);
    await processRaftMessage({ message: toWire({ ...heartbeat(peer), type: MessageType.MsgProp }) }, context);
    expect(stepped.map(({ type }) => type)).toEqual([MessageType.MsgHeartbeat]);
    await expect(processRaftMessage({ message: toWire(heartbeat(removed)) }, context)).rejects.toMatchObject({
      code: "NotFound",
      message: "raft: member was removed from the cluster",
    });
  });

  it("joins a snapshot that comes in parts", async () => {
    const stepped: Message[] = [];
    const { streamRaftMessage } = raftHandlers(receiver(stepped));
    const parts = ["all ", "that ", "is known"].map((data) =>
      part(newMessage({ type: MessageType.MsgSnap, from: peer, to: self, index: 3, snapshot: snapshot(data) })),
    );
    await streamRaftMessage(sent(...parts), context);
    expect(stepped.length).toBe(1);
    expect(stepped[0]!.snapshot!.metadata).toEqual(metadata);
    expect(Buffer.concat(partsOfData(stepped[0]!.snapshot!.data)).toString()).toBe("all that is known");
  });

  it("takes one message of any kind on a stream, as Swarm's managers send them", async () => {
    const stepped: Message[] = [];
    await raftHandlers(receiver(stepped)).streamRaftMessage(sent(part(heartbeat(peer))), context);
    expect(stepped.map(({ type }) => type)).toEqual([MessageType.MsgHeartbeat]);
  });

  it("refuses parts that do not belong together, in Swarm's words", async () => {
    const { streamRaftMessage } = raftHandlers(receiver([]));
    const first = newMessage({ type: MessageType.MsgSnap, from: peer, to: self, index: 3, snapshot: snapshot("x") });
    await expect(streamRaftMessage(sent(part(first), part({ ...first, index: 4 })), context)).rejects.toMatchObject({
      code: "InvalidArgument",
      message: "Raft message chunk with index 4 is different from the previously received raft message index 3",
    });
    await expect(streamRaftMessage(sent(part(first), part({ ...heartbeat(peer), index: 3 })), context)).rejects.toThrow(
      "Raft message chunk is not of type 7",
    );
  });

  it("tells a member's address", async () => {
    const { resolveAddress } = raftHandlers({
      ...receiver([]),
      addressOf: (raftId) => (raftId === peer ? "10.0.0.2:4242" : undefined),
    });
    expect(await resolveAddress({ raftId: peer }, context)).toMatchObject({ addr: "10.0.0.2:4242" });
    await expect(resolveAddress({ raftId: 99n }, context)).rejects.toMatchObject({ code: "NotFound" });
  });
});
