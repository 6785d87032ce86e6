import { Metadata } from "@grpc/grpc-js";
import {
  LogContext,
  LogMessage,
  LogSelector,
  LogSubscriptionOptions,
  PublishLogsMessage,
  type SubscribeLogsMessage,
  SubscribeLogsRequest,
  type SubscriptionMessage,
  Task,
  TaskState,
  TaskStatus,
} from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogBroker, type LogBrokerServer } from "./index.ts";

let store: MemoryStore;
let broker: LogBrokerServer;
let stop: AbortController;
let running: Promise<void>;

beforeEach(() => {
  store = new MemoryStore();
  broker = createLogBroker({ store, log: nullLogger });
  stop = new AbortController();
  running = broker.run(stop.signal);
});
afterEach(async () => {
  stop.abort();
  await running;
});

const context = (nodeId: string, signal = new AbortController().signal): CallContext => ({
  caller: { nodeId, roles: [], organization: "c", forwarded: false },
  signal,
  remoteAddress: "",
  metadata: new Metadata(),
});
const runs = (id: string, nodeId: string) =>
  store.update((tx) => {
    tx.tasks.create(
      Task.create({ id, nodeId, serviceId: "web", status: TaskStatus.create({ state: TaskState.RUNNING }) }),
    );
  });

/** Subscribes to the service's logs and gathers `node: text` until the end; `error` is what it ended with. */
function subscribe(options: { readonly follow?: boolean } = {}) {
  const leaving = new AbortController();
  const request = SubscribeLogsRequest.create({
    selector: LogSelector.create({ serviceIds: ["web"] }),
    options: LogSubscriptionOptions.create({ follow: options.follow ?? false }),
  });
  const lines: string[] = [];
  const ended = (async () => {
    for await (const { messages } of broker.logs.subscribeLogs(
      request,
      context("m1", leaving.signal),
    ) as AsyncIterable<SubscribeLogsMessage>) {
      for (const { context: from, data } of messages) lines.push(`${from.nodeId}: ${Buffer.from(data)}`);
    }
  })();
  ended.catch(() => undefined);
  return { lines, ended, leave: () => leaving.abort() };
}

/** A node that listens; `next` is the next subscription it hears of. */
function listen(nodeId: string) {
  const leaving = new AbortController();
  const heard = (
    broker.logBroker.listenSubscriptions({}, context(nodeId, leaving.signal)) as AsyncIterable<SubscriptionMessage>
  )[Symbol.asyncIterator]();
  // What nobody asks for may fail when the broker stops.
  const ask = () => {
    const answer = heard.next();
    answer.catch(() => undefined);
    return answer;
  };
  let pending = ask();
  const next = async () => {
    const { value } = await pending;
    pending = ask();
    return value as SubscriptionMessage;
  };
  return { next, leave: () => leaving.abort() };
}

async function publish(nodeId: string, subscriptionId: string, texts: readonly string[], as = nodeId) {
  await broker.logBroker.publishLogs(
    (async function* () {
      for (const text of texts) {
        const message = LogMessage.create({ context: LogContext.create({ nodeId: as }), data: Buffer.from(text) });
        yield PublishLogsMessage.create({ subscriptionId, messages: [message] });
      }
      yield PublishLogsMessage.create({ subscriptionId, close: true });
    })(),
    context(nodeId),
  );
}

describe("logs", () => {
  it("come from every node that holds a task, then end", async () => {
    await runs("t1", "n1");
    await runs("t2", "n2");
    const [n1, n2] = [listen("n1"), listen("n2")];
    const { lines, ended } = subscribe();
    await publish("n1", (await n1.next()).id, ["a", "b"]);
    await publish("n2", (await n2.next()).id, ["c"]);
    await ended;
    expect(lines.sort()).toEqual(["n1: a", "n1: b", "n2: c"]);
    expect((await n1.next()).close).toBe(true);
  });

  it("end with a warning that names what is missing", async () => {
    await runs("t1", "gone");
    const { ended } = subscribe();
    await expect(ended).rejects.toThrow("warning: incomplete log stream.");
    await expect(ended).rejects.toThrow("node gone is not available");
  });

  it("end with a warning when a node goes away meanwhile", async () => {
    await runs("t1", "n1");
    const n1 = listen("n1");
    const { ended } = subscribe();
    await n1.next();
    n1.leave();
    await expect(ended).rejects.toThrow("node n1 disconnected unexpectedly");
  });

  it("that are followed reach nodes that get a task later", async () => {
    const n1 = listen("n1");
    const { lines, leave, ended } = subscribe({ follow: true });
    await runs("t1", "n1");
    await publish("n1", (await n1.next()).id, ["late"]);
    await expect.poll(() => lines).toEqual(["n1: late"]);
    leave();
    await ended.catch(() => undefined);
    expect((await n1.next()).close).toBe(true);
  });

  it("are refused from a node that speaks for another, and without a selector", async () => {
    await runs("t1", "n1");
    const n1 = listen("n1");
    subscribe();
    const { id } = await n1.next();
    await expect(publish("n1", id, ["x"], "n2")).rejects.toMatchObject({ code: "PermissionDenied" });
    const empty = broker.logs.subscribeLogs(
      SubscribeLogsRequest.create({ selector: LogSelector.create() }),
      context("m1"),
    );
    await expect((empty as AsyncIterable<unknown>)[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: "InvalidArgument",
    });
  });
});
