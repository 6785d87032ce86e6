import {
  ContainerSpec,
  LayerSharingRequest,
  type LayerSharingResponse,
  LayerWish,
  Node,
  NodeStatus,
  NodeStatus_State,
  Task,
  TaskSpec,
  TaskState,
} from "@starling/api";
import { anonymous, type CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { beforeEach, expect, it } from "vitest";
import { createLayerSharingHandlers } from "./layer-sharing.ts";

const blob = Buffer.alloc(32, 1);
const image = Buffer.alloc(32, 2);
let clock: FakeClock;
let store: MemoryStore;
let handlers: ReturnType<typeof createLayerSharingHandlers>;

beforeEach(async () => {
  clock = new FakeClock();
  store = new MemoryStore({ clock });
  handlers = createLayerSharingHandlers({ store, clock, log: nullLogger });
  await store.update((tx) => {
    for (const [id, addr] of [
      ["n1", "10.0.0.1"],
      ["n2", "fd00::2"],
      ["n3", "10.0.0.3"],
    ] as const) {
      tx.nodes.create(Node.create({ id, status: NodeStatus.create({ addr, state: NodeStatus_State.READY }) }));
      if (id === "n3") continue;
      const container = ContainerSpec.create({ image: `web:1@sha256:${image.toString("hex")}` });
      const spec = TaskSpec.create({ container });
      tx.tasks.create(Task.create({ id: `t-${id}`, nodeId: id, spec, desiredState: TaskState.RUNNING }));
    }
  });
});

/** A node's end of its stream. */
function join(nodeId: string) {
  const queue: LayerSharingRequest[] = [];
  let wake = () => {};
  let isOver = false;
  const requests = (async function* () {
    while (!isOver) {
      const next = queue.shift();
      if (next !== undefined) yield next;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  })();
  const abort = new AbortController();
  const context = { caller: { ...anonymous, nodeId }, signal: abort.signal } as unknown as CallContext;
  const responses = handlers.share(requests, context)[Symbol.asyncIterator]();
  return {
    send(fields: Partial<LayerSharingRequest>) {
      queue.push(LayerSharingRequest.create(fields));
      wake();
    },
    next: async (): Promise<LayerSharingResponse> => (await responses.next()).value,
    leave() {
      isOver = true;
      wake();
      abort.abort();
    },
  };
}

const wish = LayerWish.create({ digest: blob, image });

it("a node is sent to one that has the blob, which is told whom it may give it to", async () => {
  const [holder, other] = [join("n2"), join("n1")];
  const granted = holder.next();
  const sent = other.next();
  holder.send({ port: 4243, held: [blob] });
  other.send({ port: 4243, wishes: [wish] });
  expect((await granted).grants).toMatchObject([{ nodeId: "n1" }]);
  expect((await sent).sources).toMatchObject([{ nodeId: "n2", address: "[fd00::2]:4243" }]);
});

it("a node whose tasks don't need the image hears of nobody, and nobody of it", async () => {
  const [holder, stranger] = [join("n2"), join("n3")];
  const granted = holder.next();
  const sent = stranger.next();
  holder.send({ port: 4243, held: [blob] });
  stranger.send({ port: 4243, wishes: [wish] });
  expect((await sent).sources).toMatchObject([{ nodeId: "", address: "" }]);
  // What the holder hears of next is about a node with a task.
  const other = join("n1");
  void other.next();
  other.send({ port: 4243, wishes: [wish] });
  expect((await granted).grants).toMatchObject([{ nodeId: "n1" }]);
});

it("the registry's turn passes on when the node that has it goes away", async () => {
  const [first, second] = [join("n1"), join("n2")];
  const turn = first.next();
  first.send({ port: 4243, wishes: [wish] });
  expect((await turn).sources).toMatchObject([{ nodeId: "" }]);
  const next = second.next();
  second.send({ port: 4243, wishes: [wish] });
  const ended = first.next();
  first.leave();
  expect(await ended).toBeUndefined();
  expect((await next).sources).toMatchObject([{ nodeId: "" }]);
});

it("a node that counts as lost is nobody's source, and its turn passes on", async () => {
  const [first, second] = [join("n1"), join("n2")];
  const turn = first.next();
  first.send({ port: 4243, wishes: [wish] });
  await turn;
  const next = second.next();
  second.send({ port: 4243, wishes: [wish] });
  const ended = first.next();
  await store.update((tx) => {
    const node = tx.nodes.get("n1")!;
    tx.nodes.update({ ...node, status: { ...node.status, state: NodeStatus_State.DOWN } });
  });
  expect(await ended).toBeUndefined();
  expect((await next).sources).toMatchObject([{ nodeId: "" }]);
});

it("a new leader keeps who waits from the registry while another still fetches there", async () => {
  const [waiting, fetching] = [join("n1"), join("n2")];
  const turn = waiting.next();
  waiting.send({ port: 4243, again: true, wishes: [wish] });
  await clock.advance(1_000);
  const granted = fetching.next();
  fetching.send({ port: 4243, fetching: [wish] });
  await clock.advance(5_000);
  fetching.send({ held: [blob], ended: [blob] });
  expect((await turn).sources).toMatchObject([{ nodeId: "n2" }]);
  expect((await granted).grants).toMatchObject([{ nodeId: "n1" }]);
});

it("a new leader lets who waits go to the registry when nobody fetches there, whatever a stranger says", async () => {
  const [waiting, stranger] = [join("n1"), join("n3")];
  void stranger.next();
  stranger.send({ port: 4243, fetching: [wish] });
  const turn = waiting.next();
  waiting.send({ port: 4243, again: true, wishes: [wish] });
  await clock.advance(4_000);
  expect((await turn).sources).toMatchObject([{ nodeId: "" }]);
});

it("who has no port open is nobody's source", async () => {
  const [mute, other] = [join("n1"), join("n2")];
  void mute.next();
  const sent = other.next();
  mute.send({ port: 0, held: [blob] });
  other.send({ port: 4243, wishes: [wish] });
  expect((await sent).sources).toMatchObject([{ nodeId: "" }]);
});
