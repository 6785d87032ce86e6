import { expect, it } from "vitest";
import { Outgoing } from "./outgoing.ts";

/** A stream of what lies in `messages`, and a sink that holds `room` of them until it is drained. */
function setUp(room = Number.POSITIVE_INFINITY) {
  const messages: (string | Error)[] = [];
  const abort = new AbortController();
  const stream = new Outgoing(() => {
    const next = messages.shift();
    if (next instanceof Error) throw next;
    return next;
  }, abort.signal);
  let closed = 0;
  stream.whenClosed(() => closed++);
  const written: string[] = [];
  const draining: (() => void)[] = [];
  const sink = {
    write: (message: string) => written.push(message) % room !== 0,
    once: (_: string, listener: () => void) => draining.push(listener),
  } as unknown as Parameters<typeof stream.sendTo>[0];
  return {
    stream,
    abort,
    written,
    closed: () => closed,
    push: (...more: (string | Error)[]) => {
      messages.push(...more);
      stream.wake();
    },
    drain: () => {
      for (const listener of draining.splice(0)) listener();
    },
    sent: (signal = new AbortController().signal) => stream.sendTo(sink, signal),
  };
}

it("sends each message when it is there, and what is left at its end", async () => {
  const { stream, push, written, sent, closed } = setUp();
  push("early");
  const done = sent();
  expect(written).toEqual(["early"]);
  push("a", "b");
  expect(written).toEqual(["early", "a", "b"]);
  expect(closed()).toBe(0);
  stream.end();
  await done;
  expect(closed()).toBe(1);
});

it("waits while the peer is slow, and takes no more than it can send", async () => {
  const { stream, push, written, sent, drain } = setUp(2);
  const done = sent();
  push("a", "b", "c", "d", "e");
  expect(written).toEqual(["a", "b"]);
  push("f");
  expect(written).toEqual(["a", "b"]);
  drain();
  expect(written).toEqual(["a", "b", "c", "d"]);
  stream.end();
  expect(written).toHaveLength(4);
  drain();
  drain();
  await done;
  expect(written).toEqual(["a", "b", "c", "d", "e", "f"]);
});

it("fails with what making a message throws, with the error that ends it, and with its signal's reason", async () => {
  const thrown = setUp();
  const first = thrown.sent();
  thrown.push("a", new Error("session invalid"), "b");
  await expect(first).rejects.toThrow("session invalid");
  expect([thrown.written, thrown.closed()]).toEqual([["a"], 1]);
  const ended = setUp();
  ended.push("a");
  ended.stream.end(new Error("stopped"));
  await expect(ended.sent()).rejects.toThrow("stopped");
  expect(ended.written).toEqual([]);
  const aborted = setUp();
  const third = aborted.sent();
  aborted.abort.abort(new Error("leads no more"));
  await expect(third).rejects.toThrow("leads no more");
});

it("ends quietly when the caller is gone; who asks then whether it is closed is told at once", async () => {
  const { stream, sent, push, written } = setUp();
  const gone = new AbortController();
  const done = sent(gone.signal);
  gone.abort();
  await done;
  push("late");
  expect(written).toEqual([]);
  let told = false;
  stream.whenClosed(() => {
    told = true;
  });
  expect(told).toBe(true);
});

it("can be read as any stream, and is closed when its reader leaves", async () => {
  const { stream, push, closed } = setUp();
  const reader = stream[Symbol.asyncIterator]();
  const first = reader.next();
  push("a", "b");
  expect([await first, await reader.next()]).toEqual([
    { done: false, value: "a" },
    { done: false, value: "b" },
  ]);
  const third = reader.next();
  push("c");
  expect((await third).value).toBe("c");
  await reader.return(undefined);
  expect(closed()).toBe(1);
});
