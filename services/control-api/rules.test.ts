import {
  Annotations,
  CAConfig,
  Cluster,
  ClusterSpec,
  ConfigSpec,
  ContainerSpec,
  CreateConfigRequest,
  CreateExtensionRequest,
  CreateResourceRequest,
  CreateSecretRequest,
  CreateServiceRequest,
  Driver,
  defaultClusterName,
  RemoveExtensionRequest,
  ReplicatedJob,
  RootRotation,
  SecretSpec,
  ServiceSpec,
  TaskSpec,
  UpdateClusterRequest,
  UpdateConfigRequest,
  UpdateSecretRequest,
  UpdateServiceRequest,
} from "@starling/api";
import { anonymous, type CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { beforeEach, expect, it } from "vitest";
import { createControlHandlers } from "./index.ts";

const context = {
  caller: anonymous,
  signal: new AbortController().signal,
  remoteAddress: "",
  metadata: {},
} as unknown as CallContext;
const annotations = (name: string, labels = {}) => Annotations.create({ name, labels });
const data = Buffer.from("x");
let store: MemoryStore;
let api: ReturnType<typeof createControlHandlers>;

beforeEach(() => {
  const clock = new FakeClock();
  store = new MemoryStore({ clock });
  api = createControlHandlers({ store, clock, log: nullLogger });
});

it("a secret from a driver is refused: none is offered", async () => {
  const spec = SecretSpec.create({ annotations: annotations("s"), driver: Driver.create({ name: "vault" }) });
  await expect(api.createSecret(CreateSecretRequest.create({ spec }), context)).rejects.toMatchObject({
    code: "Unimplemented",
    message: expect.stringContaining('secret driver "vault"'),
  });
});

it("of a secret and a config only the labels may change", async () => {
  const secretSpec = SecretSpec.create({ annotations: annotations("s"), data });
  const { secret } = await api.createSecret(CreateSecretRequest.create({ spec: secretSpec }), context);
  const configSpec = ConfigSpec.create({ annotations: annotations("c"), data });
  const { config } = await api.createConfig(CreateConfigRequest.create({ spec: configSpec }), context);
  const changeSecret = (spec: SecretSpec) =>
    api.updateSecret(
      UpdateSecretRequest.create({ secretId: secret!.id, secretVersion: secret!.meta.version, spec }),
      context,
    );
  const changeConfig = (spec: ConfigSpec) =>
    api.updateConfig(
      UpdateConfigRequest.create({ configId: config!.id, configVersion: config!.meta.version, spec }),
      context,
    );
  const refused = { code: "InvalidArgument", message: expect.stringContaining("only updates to Labels are allowed") };
  await expect(changeSecret({ ...secretSpec, data: Buffer.from("y") })).rejects.toMatchObject(refused);
  await expect(changeConfig({ ...configSpec, data: Buffer.from("y") })).rejects.toMatchObject(refused);
  const labelled = await changeSecret({ ...secretSpec, annotations: annotations("s", { a: "b" }) });
  expect(labelled.secret?.spec.annotations.labels).toEqual({ a: "b" });
  const labelledConfig = await changeConfig({ ...configSpec, annotations: annotations("c", { a: "b" }) });
  expect(labelledConfig.config?.spec.annotations.labels).toEqual({ a: "b" });
});

it("an update of a job is a new iteration", async () => {
  const spec = ServiceSpec.create({
    annotations: annotations("job"),
    task: TaskSpec.create({ container: ContainerSpec.create({ image: "job:1" }) }),
    replicatedJob: ReplicatedJob.create({ totalCompletions: 1 }),
  });
  const { service } = await api.createService(CreateServiceRequest.create({ spec }), context);
  expect(service!.jobStatus?.jobIteration.index).toBe(0);
  const request = UpdateServiceRequest.create({ serviceId: service!.id, serviceVersion: service!.meta.version, spec });
  const updated = await api.updateService(request, context);
  expect(updated.service!.jobStatus?.jobIteration.index).toBe(1);
});

it("the root CA becomes what the CA makes of the config; keys are kept apart from the spec, and from clients", async () => {
  const spec = ClusterSpec.create({ annotations: annotations(defaultClusterName) });
  const cluster = await store.update((tx) => tx.clusters.create(Cluster.create({ id: "c", spec })));
  const asked: CAConfig[] = [];
  const next = async ({ rootCa }: Cluster, wanted: CAConfig) => {
    asked.push(wanted);
    const rootRotation = RootRotation.create({ caCert: data, caKey: data, crossSignedCaCert: data });
    return { ...rootCa, rootRotation, lastForcedRotation: wanted.forceRotate };
  };
  api = createControlHandlers({ store, clock: new FakeClock(), log: nullLogger, rootCa: { next } });
  const request = UpdateClusterRequest.create({
    clusterId: "c",
    clusterVersion: cluster.meta.version,
    spec: { ...spec, caConfig: CAConfig.create({ signingCaCert: data, signingCaKey: data, forceRotate: 1 }) },
  });
  const answer = await api.updateCluster(request, context);
  expect(answer.cluster!.rootCa.rootRotation).toMatchObject({ caCert: data, crossSignedCaCert: data });
  expect(answer.cluster!.rootCa.rootRotation!.caKey).toHaveLength(0);
  expect(answer.cluster!.spec.caConfig.signingCaCert).toHaveLength(0);
  const stored = store.view((tx) => tx.clusters.get("c"))!;
  expect(stored.rootCa.rootRotation!.caKey).toEqual(data);
  expect(stored.spec.caConfig.signingCaKey).toHaveLength(0);
  // A stale request makes no root.
  await expect(api.updateCluster(request, context)).rejects.toThrow(/update out of sequence/);
  expect(asked).toHaveLength(1);
});

it("a resource needs its extension, and the extension stays while it has one", async () => {
  const create = (kind: string) =>
    api.createResource(CreateResourceRequest.create({ annotations: annotations("r"), kind }), context);
  await expect(create("nope")).rejects.toMatchObject({ code: "InvalidArgument" });
  const request = CreateExtensionRequest.create({ annotations: annotations("kind") });
  const { extension } = await api.createExtension(request, context);
  await create("kind");
  const removal = RemoveExtensionRequest.create({ extensionId: extension!.id });
  await expect(api.removeExtension(removal, context)).rejects.toThrow(/is in use/);
});
