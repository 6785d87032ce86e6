import { Metadata } from "@grpc/grpc-js";
import type { RaftBatch } from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { type Message, MessageType, newMessage } from "raft-ts";
import { expect, it } from "vitest";
import { toWire } from "./message-codec.ts";
import { peerHandlers, type Receiver } from "./receiver.ts";

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
