import {
  Annotations,
  ConfigReference,
  ContainerSpec,
  IndexEntry,
  NetworkAttachmentConfig,
  Node,
  NodeDescription,
  NodeRole,
  NodeSpec,
  Resource,
  SecretReference,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  VolumeAttachment,
} from "@starling/api";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as store from "../index.ts";
import { MemoryStore, type WriteTx } from "../index.ts";

const ids = (objects: readonly { readonly id: string }[]) => objects.map(({ id }) => id);

async function filled(write: (tx: WriteTx) => void): Promise<MemoryStore> {
  const memory = new MemoryStore();
  await memory.update(write);
  return memory;
}

describe("finders", () => {
  it("find tasks", async () => {
    const spec = TaskSpec.create({
      networks: [NetworkAttachmentConfig.create({ target: "net1" })],
      container: ContainerSpec.create({
        secrets: [SecretReference.create({ secretId: "sec1" }), SecretReference.create({ secretId: "sec1" })],
        configs: [ConfigReference.create({ configId: "conf1" })],
      }),
    });
    const serviceAnnotations = Annotations.create({ name: "Web" });
    const memory = await filled((tx) => {
      tx.tasks.create(Task.create({ id: "ta", serviceId: "s1", slot: 1, serviceAnnotations, spec }));
      tx.tasks.create(
        Task.create({ id: "tb", serviceId: "s1", slot: 10, nodeId: "n1", desiredState: TaskState.RUNNING }),
      );
      tx.tasks.create(
        Task.create({
          id: "xc",
          serviceId: "s11",
          slot: 1,
          nodeId: "n1",
          status: TaskStatus.create({ state: TaskState.FAILED }),
          volumes: [VolumeAttachment.create({ id: "vol1" })],
        }),
      );
    });
    const find = (...by: readonly store.By<"task">[]) =>
      memory.view((tx) => {
        const found = ids(tx.tasks.find(...by));
        if (by.length < 2) expect(ids([...tx.tasks.each(...by)])).toEqual(found);
        return found;
      });
    expect(find()).toEqual(["ta", "tb", "xc"]);
    expect(find(store.all)).toEqual(["ta", "tb", "xc"]);
    expect(find(store.byId("tb"))).toEqual(["tb"]);
    expect(find(store.byIdPrefix("t"))).toEqual(["ta", "tb"]);
    expect(find(store.byName("web.1.TA"))).toEqual(["ta"]);
    expect(find(store.byNamePrefix("WEB."))).toEqual(["ta"]);
    expect(find(store.byService("s1"))).toEqual(["ta", "tb"]);
    expect(find(store.bySlot("s1", 1))).toEqual(["ta"]);
    expect(find(store.byNode("n1"))).toEqual(["tb", "xc"]);
    expect(find(store.byNode(""))).toEqual(["ta"]);
    expect(find(store.byDesiredState(TaskState.RUNNING))).toEqual(["tb"]);
    expect(find(store.byTaskState(TaskState.FAILED))).toEqual(["xc"]);
    expect(find(store.byReferencedNetwork("net1"))).toEqual(["ta"]);
    expect(find(store.byReferencedSecret("sec1"))).toEqual(["ta"]);
    expect(find(store.byReferencedConfig("conf1"))).toEqual(["ta"]);
    expect(find(store.byVolumeAttachment("vol1"))).toEqual(["xc"]);
    expect(find(store.byRuntime("container"))).toEqual(["ta"]);
    expect(find(store.byService("s1"), store.byNode("n1"))).toEqual(["tb"]);
    expect(find(store.or(store.byNode("n1"), store.byIdPrefix("t")))).toEqual(["tb", "xc", "ta"]);
  });

  it("find nodes, services and resources by what only they have", async () => {
    const annotations = Annotations.create({ name: "a", indices: [IndexEntry.create({ key: "tier", val: "front" })] });
    const memory = await filled((tx) => {
      tx.nodes.create(Node.create({ id: "n1", role: NodeRole.MANAGER, spec: NodeSpec.create({ membership: 1 }) }));
      tx.nodes.create(Node.create({ id: "n2", description: NodeDescription.create({ hostname: "Host2" }) }));
      tx.services.create(Service.create({ id: "s1", spec: ServiceSpec.create({ annotations }) }));
      tx.resources.create(Resource.create({ id: "r1", kind: "starling.v1.Schedule" }));
    });
    memory.view((tx) => {
      expect(ids(tx.nodes.find(store.byRole(NodeRole.MANAGER)))).toEqual(["n1"]);
      expect(ids(tx.nodes.find(store.byMembership(0)))).toEqual(["n2"]);
      expect(ids(tx.nodes.find(store.byName("host2")))).toEqual(["n2"]);
      expect(ids(tx.services.find(store.byCustom("tier", "front")))).toEqual(["s1"]);
      expect(ids(tx.services.find(store.byCustomPrefix("tier", "fr")))).toEqual(["s1"]);
      expect(ids(tx.resources.find(store.byKind("starling.v1.Schedule")))).toEqual(["r1"]);
    });
  });

  it("of another table are refused, by the compiler and when run", async () => {
    const memory = new MemoryStore();
    // @ts-expect-error: nodes have no service
    expect(() => memory.view((tx) => tx.nodes.find(store.byService("s1")))).toThrow("nodes cannot be found by slot");
  });

  it("allow two nodes or tasks of one name, and objects without a name", async () => {
    const description = NodeDescription.create({ hostname: "same" });
    const memory = await filled((tx) => {
      for (const id of ["n1", "n2"]) tx.nodes.create(Node.create({ id, description }));
      for (const id of ["s1", "s2"]) tx.services.create(Service.create({ id }));
    });
    expect(memory.view((tx) => ids(tx.nodes.find(store.byName("same"))))).toEqual(["n1", "n2"]);
  });

  it("free a name for others when its object is renamed or deleted", async () => {
    const named = (id: string, name: string) =>
      Service.create({ id, spec: ServiceSpec.create({ annotations: Annotations.create({ name }) }) });
    const memory = await filled((tx) => {
      const first = tx.services.create(named("s1", "web"));
      tx.services.update({ ...named("s1", "old"), meta: first.meta });
      tx.services.create(named("s2", "web"));
      tx.services.delete("s2");
      tx.services.create(named("s3", "web"));
    });
    expect(memory.view((tx) => ids(tx.services.find(store.byName("web"))))).toEqual(["s3"]);
  });
});

describe("Table", () => {
  it("answers as a plain map does, in every snapshot ever taken", async () => {
    const step = fc.record({
      id: fc.integer({ min: 0, max: 40 }).map((n) => `t${n}`),
      node: fc.constantFrom("", "n1", "n2"),
      slot: fc.integer({ min: 1, max: 3 }),
      remove: fc.boolean(),
    });
    const transaction = fc.array(step, { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(fc.array(transaction, { maxLength: 25 }), async (transactions) => {
        const memory = new MemoryStore();
        const model = new Map<string, { readonly node: string; readonly slot: number }>();
        const snapshots: (() => void)[] = [];
        for (const steps of transactions) {
          await memory.update((tx) => {
            for (const { id, node, slot, remove } of steps) {
              const old = tx.tasks.get(id);
              expect(old !== undefined).toBe(model.has(id));
              if (old === undefined) tx.tasks.create(Task.create({ id, nodeId: node, slot, serviceId: "s" }));
              else if (remove) tx.tasks.delete(id);
              else tx.tasks.update({ ...old, nodeId: node, slot });
              if (old !== undefined && remove) model.delete(id);
              else model.set(id, { node, slot });
            }
          });
          const frozen = new Map(model);
          const tx = memory.view((each) => each);
          snapshots.push(() => {
            const expected = (want: (object: { readonly node: string; readonly slot: number }) => boolean) =>
              [...frozen]
                .filter(([, object]) => want(object))
                .map(([id]) => id)
                .sort();
            expect(tx.tasks.size).toBe(frozen.size);
            expect(ids(tx.tasks.find()).sort()).toEqual(expected(() => true));
            expect(ids(tx.tasks.find(store.byNode("n1"))).sort()).toEqual(expected(({ node }) => node === "n1"));
            expect(ids(tx.tasks.find(store.bySlot("s", 2))).sort()).toEqual(expected(({ slot }) => slot === 2));
          });
        }
        for (const check of snapshots) check();
      }),
    );
  });
});
