import { Metadata } from "@grpc/grpc-js";
import {
  EngineDescription,
  Node,
  NodeCallEnd,
  NodeCallFrame,
  type NodeCallNotice,
  NodeCallStart,
  NodeDescription,
  PluginDescription,
} from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { FakeClock, SwarmError } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { beforeEach, describe, expect, it } from "vitest";
import { createNodeCalls } from "./index.ts";

let calls: ReturnType<typeof createNodeCalls>;
let clock: FakeClock;

beforeEach(async () => {
  const store = new MemoryStore();
  await store.update((tx) => {
    for (const id of ["n1", "n2"]) tx.nodes.create(Node.create({ id }));
    const plugins = [PluginDescription.create({ type: "Network", name: "overlay" })];
    const description = NodeDescription.create({ hostname: "d1", engine: EngineDescription.create({ plugins }) });
    tx.nodes.create(Node.create({ id: "docker", description }));
  });
  clock = new FakeClock();
  calls = createNodeCalls({ store, clock });
});

const context = (nodeId: string, signal = new AbortController().signal): CallContext => ({
  caller: { nodeId, roles: [], organization: "c", forwarded: false },
  signal,
  remoteAddress: "",
  metadata: new Metadata(),
});
const start = (nodeId: string) => NodeCallFrame.create({ start: NodeCallStart.create({ nodeId, method: "/x" }) });
const message = (text: string) => NodeCallFrame.create({ message: Buffer.from(text) });
const end = (code = 0, text = "") => NodeCallFrame.create({ end: NodeCallEnd.create({ code, message: text }) });
const textOf = ({ message: bytes, end: outcome }: NodeCallFrame) => (outcome ? "end" : Buffer.from(bytes!).toString());

/** A node that listens from now on; `next` is the next call that it hears of. */
function listen(nodeId: string) {
  const leaving = new AbortController();
  const stream = calls.nodeCalls.listen({}, context(nodeId, leaving.signal)) as AsyncIterable<NodeCallNotice>;
  const notices = stream[Symbol.asyncIterator]();
  const pending = notices.next();
  pending.catch(() => undefined); // It leaves.
  return { next: async () => (await pending).value as NodeCallNotice, leave: () => leaving.abort(new Error("left")) };
}

/** Calls a node with these frames after the start; gathers what comes back. */
function call(nodeId: string, frames: AsyncIterable<NodeCallFrame> | Iterable<NodeCallFrame>) {
  const leaving = new AbortController();
  async function* requests() {
    yield start(nodeId);
    yield* frames;
  }
  const texts: string[] = [];
  const ended = (async () => {
    const answers = calls.access.call(requests(), context("m", leaving.signal)) as AsyncIterable<NodeCallFrame>;
    for await (const answer of answers) texts.push(textOf(answer));
  })();
  ended.catch(() => undefined);
  return { texts, ended, leave: () => leaving.abort(new SwarmError("Cancelled", "left")) };
}

/** The node's stream for a call: what it sends, given what it hears. */
function answer(nodeId: string, callId: string, frames: AsyncIterable<NodeCallFrame>, signal?: AbortSignal) {
  async function* sent() {
    yield NodeCallFrame.create({ callId });
    yield* frames;
  }
  const stream = calls.nodeCalls.answer(sent(), context(nodeId, signal)) as AsyncIterable<NodeCallFrame>;
  return stream[Symbol.asyncIterator]();
}

/** Frames that are put in one by one. */
function pipe() {
  const { readable, writable } = new TransformStream<NodeCallFrame, NodeCallFrame>(undefined, undefined, {
    highWaterMark: 10,
  });
  const writer = writable.getWriter();
  return {
    frames: readable as unknown as AsyncIterable<NodeCallFrame>,
    put: (frame: NodeCallFrame) => writer.write(frame),
  };
}

describe("a call to a node", () => {
  it("carries messages both ways and ends with the node's outcome", async () => {
    const node = listen("n1");
    const { texts, ended } = call("n1", [message("a"), message("b")]);
    const { callId, method } = await node.next();
    expect(method).toBe("/x");
    const out = pipe();
    const heard = answer("n1", callId, out.frames);
    expect(textOf((await heard.next()).value)).toBe("a");
    await out.put(message("for a"));
    expect(textOf((await heard.next()).value)).toBe("b");
    expect(textOf((await heard.next()).value)).toBe("end");
    await out.put(message("for b"));
    await out.put(end());
    await ended;
    expect(texts).toEqual(["for a", "for b"]);
    expect((await heard.next()).done).toBe(true);
  });

  it("fails as the node says", async () => {
    const node = listen("n1");
    const { ended } = call("n1", []);
    const out = pipe();
    const heard = answer("n1", (await node.next()).callId, out.frames);
    await heard.next();
    await out.put(end(9, "in use"));
    await expect(ended).rejects.toMatchObject({ code: "FailedPrecondition", message: "in use" });
  });

  it("ends for the node when the caller leaves", async () => {
    const node = listen("n1");
    const { ended, leave } = call("n1", pipe().frames);
    const heard = answer("n1", (await node.next()).callId, pipe().frames);
    const next = heard.next();
    leave();
    await expect(ended).rejects.toThrow("left");
    await expect(next).rejects.toThrow("the caller went away");
  });

  it("ends for the caller when the node goes away", async () => {
    const node = listen("n1");
    const { ended } = call("n1", pipe().frames);
    const gone = new AbortController();
    void answer("n1", (await node.next()).callId, pipe().frames, gone.signal)
      .next()
      .catch(() => undefined);
    await new Promise((resolve) => setImmediate(resolve));
    gone.abort();
    await expect(ended).rejects.toMatchObject({ code: "Unavailable", message: "node n1 went away" });
  });

  it("is refused for nodes that are not known or not connected, and given up when it is not taken", async () => {
    await expect(call("n3", []).ended).rejects.toMatchObject({ code: "NotFound" });
    await expect(call("n2", []).ended).rejects.toMatchObject({ code: "Unavailable" });
    await expect(call("docker", []).ended).rejects.toMatchObject({
      code: "Unimplemented",
      message: "node d1 runs no swarmd: use the tools of the Docker Engine there",
    });
    const node = listen("n1");
    const { ended } = call("n1", []);
    await node.next();
    await clock.advance(10_000);
    await expect(ended).rejects.toThrow("node n1 did not take the call");
  });

  it("is answered by the node that it is made to, once", async () => {
    const node = listen("n1");
    const { leave } = call("n1", pipe().frames);
    const { callId } = await node.next();
    await expect(answer("n2", callId, pipe().frames).next()).rejects.toMatchObject({ code: "NotFound" });
    const heard = answer("n1", callId, pipe().frames).next();
    heard.catch(() => undefined); // The caller leaves.
    await new Promise((resolve) => setImmediate(resolve));
    await expect(answer("n1", callId, pipe().frames).next()).rejects.toMatchObject({ code: "NotFound" });
    leave();
  });

  it("refuses messages that are too large", async () => {
    const node = listen("n1");
    const { ended } = call("n1", [NodeCallFrame.create({ message: new Uint8Array((1 << 20) + 1) })]);
    const heard = answer("n1", (await node.next()).callId, pipe().frames);
    await expect(heard.next()).rejects.toMatchObject({ code: "ResourceExhausted" });
    node.leave();
    ended.catch(() => undefined);
  });
});
