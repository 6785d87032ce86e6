import {
  Driver,
  type Mount,
  Mount_Type,
  Mount_VolumeOptions,
  type Node,
  NodeStatus_State,
  Service,
  type Task,
  TaskState,
  TaskStatus,
} from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { byKind, MemoryStore } from "@starling/store";
import { afterEach, describe, expect, it } from "vitest";
import { node, type TaskOptions, task } from "./fixtures.ts";
import { createScheduler } from "./index.ts";
import { nodeVolumesOf, volumeHomeKind } from "./volume-home.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A store with nodes and a scheduler on it; `lead` ends that one and starts another. */
async function cluster(...nodes: readonly Node[]) {
  const clock = new FakeClock();
  const store = new MemoryStore({ clock });
  await store.update((tx) => {
    tx.services.create(Service.create({ id: "web" }));
    for (const each of nodes) tx.nodes.create(each);
  });
  const lead = async () => {
    for (const end of ends.splice(0)) await end();
    const abort = new AbortController();
    const ended = createScheduler({ store, clock, log: nullLogger }).run(abort.signal);
    ends.push(async () => {
      abort.abort();
      await ended;
    });
  };
  await lead();
  const when = async (id: string, holds: (task: Task) => boolean): Promise<Task> => {
    const stop = new AbortController();
    const { value, events } = store.viewAndWatch((tx) => tx.tasks.get(id)!, { kinds: ["task"], signal: stop.signal });
    if (holds(value)) return value;
    for await (const { object } of events) if (object.id === id && holds(object)) return object;
    throw new Error("watch ended");
  };
  return {
    store,
    lead,
    /** The node that a new task is placed on. */
    async place(id: string, options: TaskOptions): Promise<string> {
      await store.update((tx) => tx.tasks.create(task(id, options)));
      return (await when(id, ({ status }) => status.state === TaskState.ASSIGNED)).nodeId;
    },
    placed: async (id: string) => (await when(id, ({ status }) => status.state === TaskState.ASSIGNED)).nodeId,
    /** Why a new task waits. */
    async wait(id: string, options: TaskOptions): Promise<string> {
      await store.update((tx) => tx.tasks.create(task(id, options)));
      return (await when(id, ({ status }) => status.err !== "")).status.err;
    },
    end: (id: string) =>
      store.update((tx) => {
        const old = tx.tasks.get(id)!;
        tx.tasks.update({ ...old, status: TaskStatus.create({ ...old.status, state: TaskState.FAILED }) });
        tx.tasks.delete(id);
      }),
    setState: (id: string, state: NodeStatus_State) =>
      store.update((tx) => {
        const old = tx.nodes.get(id)!;
        tx.nodes.update({ ...old, status: { ...old.status, state } });
      }),
  };
}

const slot1 = { slot: 1, volumes: ["data"] };

describe("a task with a named volume", () => {
  it("comes back to the node of its slot, with no record of a task and under a new leader", async () => {
    const { place, end, lead } = await cluster(node("n1"), node("n2"));
    const home = await place("t1", slot1);
    await end("t1");
    await lead();
    // The other node has less to do, and takes the next slot.
    for (const id of ["a", "b", "c"]) await place(id, { service: "", constraints: [`node.id==${home}`] });
    expect(await place("t2", slot1)).toBe(home);
    expect(await place("t3", { ...slot1, slot: 2 })).not.toBe(home);
  });

  it("waits while its node is away, says so, and goes on there", async () => {
    const { place, end, wait, setState, placed } = await cluster(node("n1"), node("n2"));
    const home = await place("t1", slot1);
    await end("t1");
    await setState(home, NodeStatus_State.DOWN);
    expect(await wait("t2", slot1)).toBe(
      `no suitable node (volume "data" is on node ${home}: 1 node not available for new tasks)`,
    );
    await setState(home, NodeStatus_State.READY);
    expect(await placed("t2")).toBe(home);
  });

  it("waits when its node was removed", async () => {
    const { store, place, end, wait } = await cluster(node("n1"), node("n2"));
    const home = await place("t1", slot1);
    await end("t1");
    await store.update((tx) => tx.nodes.delete(home));
    expect(await wait("t2", slot1)).toBe(
      `no suitable node (volume "data" is on node ${home}: which is not in the swarm any more)`,
    );
  });

  it("begins anew elsewhere when its service says so, and stays there", async () => {
    const { place, end, setState } = await cluster(node("n1"), node("n2"));
    const home = await place("t1", slot1);
    await end("t1");
    await setState(home, NodeStatus_State.DOWN);
    const taskLabels = { "io.starling.volume-placement": "anywhere" };
    const other = await place("t2", { ...slot1, taskLabels });
    expect(other).not.toBe(home);
    await end("t2");
    await setState(home, NodeStatus_State.READY);
    const next = await place("t3", slot1);
    await end("t3");
    expect(await place("t4", slot1)).toBe(next);
  });

  it("is forgotten with its service", async () => {
    const { store, place } = await cluster(node("n1"));
    await place("t1", slot1);
    const homes = () => store.view((tx) => tx.resources.find(byKind(volumeHomeKind)));
    expect(homes()).toHaveLength(1);
    const stop = new AbortController();
    const events = store.watch({ kinds: ["resource"], signal: stop.signal });
    await store.update((tx) => tx.services.delete("web"));
    for await (const event of events) if (event.kind === "resource" && event.action === "remove") break;
    expect(homes()).toEqual([]);
  });
});

it("only named volumes of the node's local driver hold a task", () => {
  const mounts = (change: Partial<Mount>) => {
    const base = task("t", slot1);
    const [mount] = base.spec.container!.mounts;
    return nodeVolumesOf({
      ...base,
      spec: { ...base.spec, container: { ...base.spec.container!, mounts: [{ ...mount!, ...change }] } },
    });
  };
  const driver = (name: string, options: Record<string, string> = {}) => ({
    volumeOptions: Mount_VolumeOptions.create({ driverConfig: Driver.create({ name, options }) }),
  });
  expect(mounts({})).toEqual(["data"]);
  expect(mounts(driver("local", { type: "ext4", device: "/dev/sdb" }))).toEqual(["data"]);
  expect(mounts(driver("local", { type: "nfs", device: ":/export", o: "addr=10.0.0.1" }))).toEqual([]);
  expect(mounts(driver("cloud"))).toEqual([]);
  expect(mounts({ source: "" })).toEqual([]);
  expect(mounts({ type: Mount_Type.BIND, source: "/data" })).toEqual([]);
  expect(nodeVolumesOf(task("t", { volumes: ["data"] }))).toEqual([]);
});
