import {
  Annotations,
  Cluster,
  ClusterSpec,
  Config,
  ConfigReference,
  ConfigSpec,
  ContainerSpec,
  Driver,
  Extension,
  IndexEntry,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  Node,
  NodeDescription,
  NodeRole,
  NodeSpec,
  NodeSpec_Membership,
  Resource,
  Secret,
  SecretReference,
  SecretSpec,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  Volume,
  VolumeAttachment,
  VolumeSpec,
} from "@starling/api";
import { describe, expect, it } from "vitest";
import * as store from "../index.ts";
import type { Kind } from "../objects.ts";

const annotations = Annotations.create({ name: "Web", indices: [IndexEntry.create({ key: "tier", val: "front" })] });
const spec = TaskSpec.create({
  networks: [NetworkAttachmentConfig.create({ target: "net1" })],
  container: ContainerSpec.create({
    secrets: [SecretReference.create({ secretId: "sec1" })],
    configs: [ConfigReference.create({ configId: "conf1" })],
  }),
});

/** An object of each kind with a value for everything that it can be found by. */
const samples: { readonly [K in Kind]: store.ObjectOf[K] } = {
  cluster: Cluster.create({ id: "x1", spec: ClusterSpec.create({ annotations }) }),
  config: Config.create({ id: "x1", spec: ConfigSpec.create({ annotations }) }),
  extension: Extension.create({ id: "x1", annotations }),
  network: Network.create({ id: "x1", spec: NetworkSpec.create({ annotations }) }),
  node: Node.create({
    id: "x1",
    role: NodeRole.MANAGER,
    description: NodeDescription.create({ hostname: "Web" }),
    spec: NodeSpec.create({ annotations, membership: NodeSpec_Membership.ACCEPTED }),
  }),
  resource: Resource.create({ id: "x1", annotations, kind: "schedule" }),
  secret: Secret.create({ id: "x1", spec: SecretSpec.create({ annotations }) }),
  service: Service.create({ id: "x1", spec: ServiceSpec.create({ annotations, task: spec }) }),
  task: Task.create({
    id: "x1",
    annotations,
    spec,
    serviceId: "s1",
    slot: 2,
    nodeId: "n1",
    desiredState: TaskState.RUNNING,
    status: TaskStatus.create({ state: TaskState.READY }),
    volumes: [VolumeAttachment.create({ id: "vol1" })],
  }),
  volume: Volume.create({
    id: "x1",
    spec: VolumeSpec.create({ annotations, group: "g1", driver: Driver.create({ name: "csi1" }) }),
  }),
};

const every = Object.keys(samples) as Kind[];
type Finder = (found: boolean) => store.By<Kind>;
const finder =
  (of: (value: string) => unknown, value: string): Finder =>
  (found) =>
    of(found ? value : "other") as store.By<Kind>;
const ofState =
  (of: (state: TaskState) => unknown, state: TaskState): Finder =>
  (found) =>
    of(found ? state : TaskState.REJECTED) as store.By<Kind>;

/** Which tables have which finder, as in SwarmKit's manager/state/store; extensions also have name prefixes here. */
const finders: { readonly [name: string]: { readonly by: Finder; readonly tables: readonly Kind[] } } = {
  byId: { by: finder(store.byId, "x1"), tables: every },
  byIdPrefix: { by: finder(store.byIdPrefix, "x"), tables: every },
  byName: { by: finder(store.byName, "wEB"), tables: every },
  byNamePrefix: { by: finder(store.byNamePrefix, "we"), tables: every },
  byCustom: { by: finder((value) => store.byCustom("tier", value), "front"), tables: every },
  byCustomPrefix: { by: finder((value) => store.byCustomPrefix("tier", value), "fr"), tables: every },
  byRuntime: { by: finder(store.byRuntime, "container"), tables: ["service", "task"] },
  byService: { by: finder(store.byService, "s1"), tables: ["task"] },
  bySlot: { by: finder((id) => store.bySlot(id, 2), "s1"), tables: ["task"] },
  byNode: { by: finder(store.byNode, "n1"), tables: ["task"] },
  byDesiredState: { by: ofState(store.byDesiredState, TaskState.RUNNING), tables: ["task"] },
  byTaskState: { by: ofState(store.byTaskState, TaskState.READY), tables: ["task"] },
  byReferencedNetwork: { by: finder(store.byReferencedNetwork, "net1"), tables: ["service", "task"] },
  byReferencedSecret: { by: finder(store.byReferencedSecret, "sec1"), tables: ["service", "task"] },
  byReferencedConfig: { by: finder(store.byReferencedConfig, "conf1"), tables: ["service", "task"] },
  byVolumeAttachment: { by: finder(store.byVolumeAttachment, "vol1"), tables: ["task"] },
  byRole: {
    by: (found) => store.byRole(found ? NodeRole.MANAGER : NodeRole.WORKER) as unknown as store.By<Kind>,
    tables: ["node"],
  },
  byMembership: {
    by: (found) =>
      store.byMembership(
        found ? NodeSpec_Membership.ACCEPTED : NodeSpec_Membership.PENDING,
      ) as unknown as store.By<Kind>,
    tables: ["node"],
  },
  byKind: { by: finder(store.byKind, "schedule"), tables: ["resource"] },
  byVolumeGroup: { by: finder(store.byVolumeGroup, "g1"), tables: ["volume"] },
  byDriver: { by: finder(store.byDriver, "csi1"), tables: ["volume"] },
};

it("are all here", () => {
  const exported = Object.keys(store).filter((name) => /^by[A-Z]/.test(name));
  expect(exported.toSorted()).toEqual(Object.keys(finders).toSorted());
});

describe.each(every)("%ss", (kind) => {
  async function table(): Promise<store.ReadTable<Kind>> {
    const memory = new store.MemoryStore();
    await memory.update((tx) => {
      // The task's name has its slot and id behind the annotations' when that is empty: here it is given.
      (tx[store.tableName(kind)] as unknown as store.WriteTable<Kind>).create(samples[kind]);
    });
    return memory.view((tx) => tx[store.tableName(kind)] as unknown as store.ReadTable<Kind>);
  }
  const idsOf = (objects: Iterable<{ readonly id: string }>) => [...objects].map(({ id }) => id);

  for (const [name, { by, tables }] of Object.entries(finders)) {
    if (!tables.includes(kind)) {
      it(`refuse ${name}, alone and combined`, async () => {
        const read = await table();
        for (const combined of [[by(true)], [store.all, by(true)], [store.or(by(true), store.all)]]) {
          expect(() => read.find(...combined)).toThrow(new RegExp(`^${kind}s cannot be found by `));
        }
        expect(() => [...read.each(by(true))]).toThrow(/cannot be found by/);
      });
      continue;
    }
    it(`are found ${name}, alone and combined`, async () => {
      const read = await table();
      for (const found of [true, false]) {
        const expected = found ? ["x1"] : [];
        expect(idsOf(read.find(by(found)))).toEqual(expected);
        expect(idsOf(read.each(by(found)))).toEqual(expected);
        expect(idsOf(read.find(store.all, by(found)))).toEqual(expected);
        expect(idsOf(read.find(by(found), store.all))).toEqual(expected);
        expect(idsOf(read.find(store.or(by(false), by(found))))).toEqual(expected);
        expect(idsOf(read.find(by(true), store.or(by(found), by(false))))).toEqual(expected);
      }
      expect(idsOf(read.find(store.or(by(true), store.all)))).toEqual(["x1"]);
    });
  }

  const namesAreUnique = kind !== "node" && kind !== "task";
  it(namesAreUnique ? "have names of their own, whatever their case" : "may share a name", async () => {
    const memory = new store.MemoryStore();
    const create = (id: string) =>
      memory.update((tx) => {
        const write = tx[store.tableName(kind)] as unknown as store.WriteTable<Kind>;
        write.create({ ...samples[kind], id } as store.StoreObject);
      });
    await create("x1");
    if (namesAreUnique) await expect(create("x2")).rejects.toThrow(/^name conflicts with an existing object: .*"Web"/);
    else await create("x2");
  });
});
