import { Annotations, Service, ServiceSpec, Task } from "@starling/api";
import { SwarmError } from "@starling/base";
import { TestGroup, TestManager, until } from "@starling/raft-node/testing";
import { MemoryStore } from "@starling/store";
import { afterEach, expect, it } from "vitest";

let group: TestGroup | undefined;

afterEach(async () => {
  await group?.close();
  group = undefined;
});

interface Manager {
  readonly raft: TestManager;
  readonly store: MemoryStore;
}

/** Starts a manager whose state machine is a real store; a restarted one begins with an empty one, as a process does. */
async function start(name: string, previous?: Manager): Promise<Manager> {
  const remote = group!.leader?.addr;
  const store = new MemoryStore();
  const raft = previous?.raft ?? new TestManager(name);
  Object.defineProperty(raft, "machine", { value: store, configurable: true });
  if (previous === undefined) group!.managers.push(raft);
  await group!.start(raft, remote);
  store.attachProposer(raft.raft);
  return { raft, store };
}

it("stores on three managers agree, and hold all that was acknowledged, when leaders die under many writers", async () => {
  group = await TestGroup.create();
  const managers = new Map<string, Manager>();
  for (const name of ["m1", "m2", "m3"]) {
    managers.set(name, await start(name));
    if (name === "m1") await until("m1 leads", () => group!.leader);
  }
  // A manager that has just joined has no vote yet: until it has, two of the three are all that count.
  await until("all three vote", () => {
    const members = group?.leader?.raft.members() ?? [];
    return members.length === 3 && members.every(({ voter }) => voter);
  });
  const leader = () => [...managers.values()].find(({ raft }) => raft.raft.isLeader);
  const acknowledged = new Set<string>();
  let writing = true;
  const counter = Service.create({
    id: "counter",
    spec: ServiceSpec.create({ annotations: Annotations.create({ name: "c" }) }),
  });
  await leader()!.store.update((tx) => tx.services.create(counter));

  // Each writer creates tasks and counts them in one object that all of them change: their transactions are all chained.
  const writers = Array.from({ length: 8 }, async (_, writer) => {
    for (let n = 0; writing; n++) {
      const id = `${writer}-${n}`;
      const store = await until("someone leads", () => leader()?.store);
      try {
        await store.update((tx) => {
          tx.tasks.create(Task.create({ id }));
          const old = tx.services.get("counter")!;
          const forceUpdate = old.spec.task.forceUpdate + 1;
          tx.services.update({ ...old, spec: { ...old.spec, task: { ...old.spec.task, forceUpdate } } });
        });
        acknowledged.add(id);
      } catch (error) {
        expect(SwarmError.from(error).code).toBe("Unavailable");
      }
    }
  });

  for (let round = 0; round < 2; round++) {
    const enough = acknowledged.size + 200;
    await until("writes are acknowledged", () => acknowledged.size > enough);
    const dead = await until("someone leads", leader);
    await group.kill(dead.raft);
    dead.store.abandonInFlight(new SwarmError("Unavailable", "outcome unknown: the manager has died"));
    await until("another leads", () => leader() !== undefined && leader() !== dead);
    managers.set(dead.raft.nodeId, await start(dead.raft.nodeId, dead));
  }
  writing = false;
  await Promise.all(writers);

  const final = await until("someone leads", leader);
  await final.store.update((tx) => tx.tasks.create(Task.create({ id: "last" })));
  for (const { store } of managers.values()) {
    await until("a follower has caught up", () => store.view((tx) => tx.tasks.get("last")));
    expect(store.snapshot()).toEqual(final.store.snapshot());
    for (const id of acknowledged) expect(store.view((tx) => tx.tasks.get(id)?.id)).toBe(id);
  }
  const { tasks, counted } = final.store.view((tx) => ({
    tasks: tx.tasks.size - 1,
    counted: tx.services.get("counter")!.spec.task.forceUpdate,
  }));
  expect(counted).toBe(tasks);
  expect(tasks).toBeGreaterThanOrEqual(acknowledged.size);
});
