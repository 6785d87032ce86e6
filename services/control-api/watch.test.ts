import {
  Annotations,
  Cluster,
  Extension,
  IndexEntry,
  Node,
  NodeDescription,
  NodeRole,
  Resource,
  RootCA,
  Secret,
  SecretSpec,
  SelectBy,
  SelectByCustom,
  SelectBySlot,
  Service,
  ServiceSpec,
  Task,
  TaskState,
  WatchActionKind,
  type WatchMessage,
  WatchRequest,
  WatchRequest_WatchEntry,
} from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { SwarmError } from "@starling/base";
import { MemoryStore, type WriteTx } from "@starling/store";
import { beforeEach, describe, expect, it } from "vitest";
import { createWatchHandlers } from "./index.ts";

const { WATCH_ACTION_CREATE: create, WATCH_ACTION_UPDATE: update, WATCH_ACTION_REMOVE: remove } = WatchActionKind;
const any = (create | update | remove) as WatchActionKind;

let store: MemoryStore;
beforeEach(() => {
  store = new MemoryStore();
});

/** A client: what it receives, message by message. */
function watching(request: Partial<WatchRequest>) {
  const abort = new AbortController();
  const context = { signal: abort.signal } as CallContext;
  const messages = createWatchHandlers({ store }).watch(WatchRequest.create(request), context)[Symbol.asyncIterator]();
  const next = async () => (await messages.next()).value as WatchMessage;
  return { next, ids: async () => idsOf(await next()), abort, messages };
}

const idsOf = ({ events }: WatchMessage) => events.map(({ object }) => Object.values(object!).find(Boolean)!.id);
const entry = (kind: string, ...filters: Partial<SelectBy>[]) =>
  WatchRequest_WatchEntry.create({ kind, action: any, filters: filters.map((by) => SelectBy.create(by)) });
const write = (change: (tx: WriteTx) => void) => store.update(change);
const named = (name: string) => Annotations.create({ name });

it("sends a message without events and the version it starts at, then each commit's events and its version", async () => {
  const client = watching({ entries: [entry("task"), entry("node")] });
  expect(await client.next()).toEqual({ events: [], version: { index: 0 } });
  await write((tx) => {
    tx.tasks.create(Task.create({ id: "t1" }));
    tx.services.create(Service.create({ id: "s1", spec: ServiceSpec.create({ annotations: named("web") }) }));
    tx.nodes.create(Node.create({ id: "n1" }));
  });
  const created = store.version;
  await write((tx) => tx.services.delete("s1"));
  await write((tx) => tx.tasks.update({ ...tx.tasks.get("t1")!, slot: 3 }));
  await write((tx) => tx.tasks.delete("t1"));
  const first = await client.next();
  expect(idsOf(first)).toEqual(["t1", "n1"]);
  expect(first.version?.index).toBe(created);
  const [second, third] = [await client.next(), await client.next()];
  expect(second.events.map(({ action, object }) => [action, object?.task?.slot])).toEqual([[update, 3]]);
  expect(third.events.map(({ action, object }) => [action, object?.task?.slot])).toEqual([[remove, 3]]);
  expect(third.version?.index).toBe(store.version);
});

it("misses nothing that is committed between the empty message and the first read", async () => {
  const client = watching({ entries: [entry("task")] });
  await client.next();
  await write((tx) => void tx.tasks.create(Task.create({ id: "t1" })));
  expect(await client.ids()).toEqual(["t1"]);
});

it("gives the old object only when asked", async () => {
  await write((tx) => void tx.tasks.create(Task.create({ id: "t1", slot: 1 })));
  const [asking, silent] = [true, false].map((includeOldObject) =>
    watching({ entries: [entry("task")], includeOldObject }),
  );
  await asking!.next();
  await silent!.next();
  await write((tx) => tx.tasks.update({ ...tx.tasks.get("t1")!, slot: 2 }));
  expect((await asking!.next()).events[0]!.oldObject?.task?.slot).toBe(1);
  expect((await silent!.next()).events[0]!.oldObject).toBeUndefined();
});

it("keeps secrets' data and the cluster's keys to itself, in new and old objects", async () => {
  const client = watching({ entries: [entry("secret"), entry("cluster")], includeOldObject: true });
  await client.next();
  const key = new TextEncoder().encode("KEY");
  await write((tx) => {
    tx.secrets.create(Secret.create({ id: "s", spec: SecretSpec.create({ data: key, annotations: named("s") }) }));
    tx.clusters.create(Cluster.create({ id: "c", rootCa: RootCA.create({ caKey: key, caCert: key }) }));
  });
  await write((tx) => {
    const { spec, ...secret } = tx.secrets.get("s")!;
    tx.secrets.update({
      ...secret,
      spec: { ...spec, annotations: Annotations.create({ name: "s", labels: { a: "b" } }) },
    });
    tx.clusters.update({ ...tx.clusters.get("c")!, fips: true });
  });
  const events = [...(await client.next()).events, ...(await client.next()).events];
  const seen = events.flatMap(({ object, oldObject }) => [object, oldObject]).filter((each) => each !== undefined);
  expect(seen.map((each) => each.secret?.spec.data.length ?? each.cluster?.rootCa.caKey.length)).toEqual(
    Array(6).fill(0),
  );
  expect(seen.find((each) => each.cluster)?.cluster?.rootCa.caCert).toEqual(key);
});

describe("selectors", () => {
  const task = (id: string, init: Partial<Task> = {}) => Task.create({ id, ...init });
  const indexed = (value: string) => Annotations.create({ indices: [IndexEntry.create({ key: "color", val: value })] });
  const custom = (value: string) => SelectByCustom.create({ index: "color", value });
  const host = (hostname: string) => NodeDescription.create({ hostname });

  it.each<[string, Partial<SelectBy>, Task]>([
    ["id", { id: "yes" }, task("yes")],
    ["id prefix", { idPrefix: "ye" }, task("yes")],
    ["name", { name: "web.1.yes" }, task("yes", { slot: 1, serviceAnnotations: named("web") })],
    ["name prefix", { namePrefix: "web.1" }, task("yes", { slot: 1, serviceAnnotations: named("web") })],
    ["custom", { custom: custom("red") }, task("yes", { annotations: indexed("red") })],
    ["custom prefix", { customPrefix: custom("re") }, task("yes", { annotations: indexed("red") })],
    ["service", { serviceId: "s" }, task("yes", { serviceId: "s" })],
    ["node", { nodeId: "n" }, task("yes", { nodeId: "n" })],
    ["slot", { slot: SelectBySlot.create({ serviceId: "s", slot: 2 }) }, task("yes", { serviceId: "s", slot: 2 })],
    ["desired state", { desiredState: TaskState.RUNNING }, task("yes", { desiredState: TaskState.RUNNING })],
  ])("tasks by %s", async (_, by, yes) => {
    const client = watching({ entries: [entry("task", by)] });
    await client.next();
    await write(
      (tx) => void tx.tasks.create(task("no", { slot: 2, serviceId: "other", annotations: indexed("blue") })),
    );
    await write((tx) => void tx.tasks.create(yes));
    expect(await client.ids()).toEqual(["yes"]);
  });

  it.each<[string, string, Partial<SelectBy>]>([
    ["node", "hostname", { name: "host-1" }],
    ["node", "role", { role: NodeRole.MANAGER }],
    ["gpu", "its kind alone", {}],
    ["gpu", "kind and name", { name: "g" }],
  ])("%ss by %s", async (kind, _, by) => {
    const client = watching({ entries: [entry(kind, ...(Object.keys(by).length > 0 ? [by] : []))] });
    await client.next();
    await write((tx) => {
      tx.nodes.create(Node.create({ id: "no1", description: host("host-2") }));
      tx.extensions.create(Extension.create({ id: "no2", annotations: named("gpu") }));
      tx.resources.create(Resource.create({ id: "no3", kind: "fpga", annotations: named("f") }));
    });
    await write((tx) => {
      if (kind === "node") {
        tx.nodes.create(Node.create({ id: "yes", description: host("host-1"), role: NodeRole.MANAGER }));
      } else tx.resources.create(Resource.create({ id: "yes", kind: "gpu", annotations: named("g") }));
    });
    expect(await client.ids()).toEqual(["yes"]);
  });

  it("combine: all filters of an entry, any of the entries, each event once", async () => {
    const both = entry("task", { serviceId: "s" }, { nodeId: "n" });
    const removals = WatchRequest_WatchEntry.create({ kind: "task", action: remove });
    const client = watching({ entries: [both, removals, entry("task", { id: "c" })] });
    await client.next();
    await write((tx) => {
      tx.tasks.create(task("a", { serviceId: "s" }));
      tx.tasks.create(task("b", { serviceId: "s", nodeId: "n" }));
      tx.tasks.create(task("c", { serviceId: "s", nodeId: "n" }));
    });
    await write((tx) => tx.tasks.delete("a"));
    expect([await client.ids(), await client.ids()]).toEqual([["b", "c"], ["a"]]);
  });

  it.each<[RegExp, WatchRequest_WatchEntry]>([
    [/entries\[0\]\.kind: no kind/, entry("")],
    [/entries\[0\]\.action: unrecognized action 8/, { ...entry("task"), action: 8 as WatchActionKind }],
    [/a node cannot be selected by slot/, entry("node", { slot: SelectBySlot.create() })],
    [/a task cannot be selected by that/, entry("task", { referencedNetworkId: "x" })],
    [/more than one for id/, entry("task", { id: "a" }, { idPrefix: "b" })],
    [/more than one for service_id/, entry("task", { serviceId: "a" }, { slot: SelectBySlot.create() })],
  ])("are refused: %s", async (message, refused) => {
    const error = await watching({ entries: [refused] })
      .next()
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "InvalidArgument", message: expect.stringMatching(message) });
  });
});

describe("resuming", () => {
  it("first sends what was missed, commit by commit", async () => {
    await write((tx) => void tx.tasks.create(Task.create({ id: "a" })));
    const seen = store.version;
    await write((tx) => void tx.tasks.create(Task.create({ id: "b" })));
    await write((tx) => tx.tasks.delete("a"));
    const client = watching({ entries: [entry("task")], resumeFrom: { index: seen } });
    await client.next();
    await write((tx) => void tx.tasks.create(Task.create({ id: "c" })));
    expect([await client.ids(), await client.ids(), await client.ids()]).toEqual([["b"], ["a"], ["c"]]);
  });

  it("is refused when the changes are not known any more, and when they are yet to come", async () => {
    await write((tx) => void tx.tasks.create(Task.create({ id: "a" })));
    const snapshot = store.snapshot();
    store = new MemoryStore();
    store.restore(snapshot);
    const refused = (index: number) => watching({ entries: [entry("task")], resumeFrom: { index } }).next();
    await expect(refused(0)).rejects.toMatchObject({
      code: "OutOfRange",
      message: expect.stringMatching(/read the objects again/),
    });
    await expect(refused(99)).rejects.toMatchObject({
      code: "Unavailable",
      message: expect.stringMatching(/ahead of this manager/),
    });
  });
});

it("sends a commit of very many events in pieces, the version with the last", async () => {
  const client = watching({ entries: [entry("task")] });
  await client.next();
  await write((tx) => {
    for (let i = 0; i < 1001; i++) tx.tasks.create(Task.create({ id: `t${i}` }));
  });
  const [first, last] = [await client.next(), await client.next()];
  expect([first.events.length, first.version]).toEqual([1000, undefined]);
  expect([last.events.length, last.version]).toEqual([1, { index: store.version }]);
});

it("ends a client that is too slow with ResourceExhausted, and without an error one that leaves", async () => {
  const [slow, leaving] = [watching({ entries: [entry("task")] }), watching({ entries: [entry("task")] })];
  await slow.next();
  await leaving.next();
  const waiting = leaving.messages.next();
  leaving.abort.abort();
  expect(await waiting).toMatchObject({ done: true });
  for (let i = 0; i < 21; i++) {
    await write((tx) => {
      for (let j = 0; j < 1000; j++) tx.tasks.create(Task.create({ id: `t${i}-${j}` }));
    });
  }
  const drained = (async () => {
    while (!(await slow.messages.next()).done);
  })();
  await expect(drained).rejects.toBeInstanceOf(SwarmError);
  await expect(drained).rejects.toMatchObject({ code: "ResourceExhausted" });
});
