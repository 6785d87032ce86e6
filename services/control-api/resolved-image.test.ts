import {
  Annotations,
  ContainerSpec,
  ContainerSpec_PullOptions,
  CreateServiceRequest,
  Placement,
  Platform,
  ReplicatedService,
  resolveImageMetadata,
  type Service,
  ServiceSpec,
  TaskSpec,
  UpdateServiceRequest,
  UpdateServiceRequest_Rollback,
} from "@starling/api";
import { anonymous, type CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger, SwarmError } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { beforeEach, expect, it } from "vitest";
import { createControlHandlers, type ImageResolver } from "./index.ts";

const digest = `sha256:${"a".repeat(64)}`;
const linux = [Platform.create({ os: "linux", architecture: "amd64" })];
/** What the resolver was asked, as `image auth`. */
const asked: string[] = [];
let fault: SwarmError | undefined;
const images: ImageResolver = {
  async resolve(image, { registryAuth }) {
    asked.push(`${image} ${registryAuth}`.trim());
    if (fault !== undefined) throw fault;
    const amd64 = { os: "linux", architecture: "amd64" };
    return { digest, platforms: image.startsWith("arm") ? [{ os: "linux", architecture: "arm" }] : [amd64, amd64] };
  },
};

beforeEach(() => {
  asked.length = 0;
  fault = undefined;
});

function contextWith(metadata: Readonly<Record<string, string>> = {}): CallContext {
  const get = (key: string) => (metadata[key] === undefined ? [] : [metadata[key]]);
  return {
    caller: anonymous,
    signal: new AbortController().signal,
    remoteAddress: "",
    metadata: { get },
  } as unknown as CallContext;
}

function setUp() {
  const clock = new FakeClock();
  const api = createControlHandlers({ store: new MemoryStore({ clock }), clock, log: nullLogger, images });
  const create = async (spec: ServiceSpec, context = contextWith()) =>
    (await api.createService(CreateServiceRequest.create({ spec }), context)).service!;
  const update = async (service: Service, change: Partial<TaskSpec>, options: { rollback?: 1 } = {}) => {
    const spec = { ...service.spec, task: { ...service.spec.task, ...change } };
    const request = { serviceId: service.id, serviceVersion: service.meta.version, spec, ...options };
    return (await api.updateService(UpdateServiceRequest.create(request), contextWith())).service!;
  };
  return { api, create, update };
}

const container = (image: string, init: Partial<ContainerSpec> = {}) => ContainerSpec.create({ image, ...init });

function specOf(image: string, task: Partial<TaskSpec> = {}): ServiceSpec {
  return ServiceSpec.create({
    annotations: Annotations.create({ name: "web" }),
    task: TaskSpec.create({ container: container(image), ...task }),
    replicated: ReplicatedService.create({ replicas: 1 }),
  });
}

const imageOf = ({ spec }: Service) => spec.task.container?.image;
const platformsOf = ({ spec }: Service) => spec.task.placement?.platforms ?? [];

it("a new service's image gets its digest and, each once, its platforms, asked with the task's credentials", async () => {
  const { create } = setUp();
  const pullOptions = ContainerSpec_PullOptions.create({ registryAuth: "secret" });
  const service = await create(specOf("web", { container: container("web", { pullOptions }) }));
  expect(imageOf(service)).toBe(`web:latest@${digest}`);
  expect(platformsOf(service)).toEqual(linux);
  expect(asked).toEqual(["web secret"]);
});

it("an image of arm may run on any architecture: nodes name theirs otherwise", async () => {
  const { create } = setUp();
  expect(platformsOf(await create(specOf("arm:1")))).toEqual([Platform.create({ os: "linux" })]);
});

it("one with a digest is asked for its platforms only; with both nobody is asked", async () => {
  const { create, update } = setUp();
  const pinned = `web:1@sha256:${"b".repeat(64)}`;
  const service = await create(specOf(pinned));
  expect([imageOf(service), platformsOf(service)]).toEqual([pinned, linux]);
  const placement = Placement.create({ platforms: [Platform.create({ os: "plan9" })] });
  await update(service, { container: container(`web:1@${digest}`), placement });
  expect(asked).toEqual([pinned]);
});

it("a registry that doesn't tell, or --no-resolve-image, leaves the image as it is", async () => {
  const { create, api } = setUp();
  fault = new SwarmError("Unavailable", "registry web: connect ECONNREFUSED");
  expect(imageOf(await create(specOf("web:1")))).toBe("web:1");
  expect(asked).toHaveLength(1);
  const other = { ...specOf("web:1"), annotations: Annotations.create({ name: "other" }) };
  const context = contextWith({ [resolveImageMetadata]: "false" });
  const { service } = await api.createService(CreateServiceRequest.create({ spec: other }), context);
  expect(imageOf(service!)).toBe("web:1");
  expect(asked).toHaveLength(1);
});

it("an update asks when the image is another or a restart is forced", async () => {
  const { create, update } = setUp();
  fault = new SwarmError("Unavailable", "away");
  let service = await create(specOf("web:1"));
  fault = undefined;
  service = await update(service, { container: container("web:1", { env: ["A=1"] }) });
  expect([imageOf(service), asked.length]).toEqual(["web:1", 1]);
  service = await update(service, { forceUpdate: 1 });
  expect([imageOf(service), asked.length]).toEqual([`web:1@${digest}`, 2]);
  service = await update(service, { container: container("web:2") });
  expect([imageOf(service), asked.length]).toEqual([`web:2@${digest}`, 3]);
  service = await update(service, {}, { rollback: UpdateServiceRequest_Rollback.PREVIOUS });
  expect([imageOf(service), asked.length]).toEqual([`web:1@${digest}`, 3]);
});

it("platforms of the image before don't hold for the next", async () => {
  const { create, update } = setUp();
  const service = await update(await create(specOf("arm:1")), { container: container("web:1") });
  expect(platformsOf(service)).toEqual(linux);
  fault = new SwarmError("Unavailable", "away");
  expect(platformsOf(await update(service, { container: container("web:2") }))).toEqual([]);
});

it("what is refused anyway is refused before a registry is asked", async () => {
  const { create } = setUp();
  await create(specOf("web:1"));
  await expect(create(specOf("web:2"))).rejects.toMatchObject({ code: "AlreadyExists" });
  expect(asked).toEqual(["web:1"]);
});
