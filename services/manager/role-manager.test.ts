import { Node, NodeRole, NodeSpec } from "@starling/api";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { expect, it } from "vitest";
import { createRoleManager, type RoleGroup } from "./role-manager.ts";

/** A group of three with `self` as its leader, in which a member may be removed once `spare` is set. */
function start(nodes: readonly Node[]) {
  const store = new MemoryStore();
  const clock = new FakeClock();
  const stop = new AbortController();
  const group: RoleGroup & { spare: boolean; asked: number; removed: bigint[]; transfers: number } = {
    spare: true,
    asked: 0,
    removed: [],
    transfers: 0,
    selfRaftId: () => 1n,
    members: () => nodes.map(({ id }, i) => ({ raftId: BigInt(i + 1), nodeId: id })),
    canRemoveMember: () => {
      group.asked++;
      return group.spare;
    },
    removeMember: async (raftId) => {
      group.removed.push(raftId);
    },
    transferLeadership: async () => {
      group.transfers++;
    },
  };
  const ready = store.update((tx) => {
    for (const node of nodes) tx.nodes.create(node);
  });
  const ended = ready.then(() => createRoleManager({ store, group, clock, log: nullLogger }).run(stop.signal));
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  return {
    store,
    clock,
    group,
    turn,
    wish: async (id: string, desiredRole: NodeRole) => {
      await turn();
      await store.update((tx) => {
        const node = tx.nodes.get(id)!;
        tx.nodes.update({ ...node, spec: { ...node.spec, desiredRole } });
      });
      await turn();
    },
    roleOf: (id: string) => store.view((tx) => tx.nodes.get(id)?.role),
    stop: async () => {
      stop.abort();
      await ended;
    },
  };
}

const node = (id: string, role: NodeRole, desiredRole = role) =>
  Node.create({ id, role, spec: NodeSpec.create({ desiredRole }) });
const { MANAGER, WORKER } = NodeRole;

it("promotes at once, also what was wished before it began", async () => {
  const cluster = start([node("a", WORKER, MANAGER), node("b", WORKER)]);
  await cluster.wish("b", MANAGER);
  expect([cluster.roleOf("a"), cluster.roleOf("b")]).toEqual([MANAGER, MANAGER]);
  await cluster.stop();
});

it("takes a manager out of the group before it becomes a worker", async () => {
  const cluster = start([node("self", MANAGER), node("b", MANAGER)]);
  await cluster.wish("b", WORKER);
  expect(cluster.group.removed).toEqual([2n]);
  expect(cluster.roleOf("b")).toBe(WORKER);
  await cluster.stop();
});

it("hands over before its own demotion, which is its successor's to do", async () => {
  const cluster = start([node("self", MANAGER), node("b", MANAGER)]);
  await cluster.wish("self", WORKER);
  expect([cluster.group.transfers, cluster.group.removed, cluster.roleOf("self")]).toEqual([1, [], MANAGER]);
  await cluster.stop();
});

it("waits for the quorum to allow a demotion, with one look at a time however often the node changes", async () => {
  const cluster = start([node("self", MANAGER), node("b", MANAGER)]);
  cluster.group.spare = false;
  await cluster.wish("b", WORKER);
  for (let i = 0; i < 20; i++) await cluster.wish("b", WORKER);
  cluster.group.asked = 0;
  await cluster.clock.advance(5_000);
  await cluster.turn();
  expect(cluster.group.asked).toBe(1);
  cluster.group.spare = true;
  await cluster.clock.advance(5_000);
  await cluster.turn();
  expect(cluster.roleOf("b")).toBe(WORKER);
  await cluster.stop();
});
