import { describe, expect, it } from "vitest";
import {
  Annotations,
  ContainerSpec,
  ContainerSpec_PullOptions,
  Endpoint,
  EndpointSpec,
  isTaskDirty,
  Node,
  NodeSpec,
  Placement,
  PortConfig,
  Service,
  ServiceSpec,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  Version,
} from "./index.ts";

const ssd = Node.create({
  id: "n",
  spec: NodeSpec.create({ annotations: Annotations.create({ labels: { disk: "ssd" } }) }),
});
const bare = Node.create({ id: "n" });
const on = (constraint: string, image = "a") =>
  TaskSpec.create({
    container: ContainerSpec.create({ image }),
    placement: Placement.create({ constraints: [constraint] }),
  });
const withAuth = (registryAuth: string) =>
  TaskSpec.create({
    container: ContainerSpec.create({ pullOptions: ContainerSpec_PullOptions.create({ registryAuth }) }),
  });
const service = (task: TaskSpec, endpoint?: EndpointSpec) =>
  Service.create({ spec: ServiceSpec.create({ task, endpoint }), specVersion: Version.create({ index: 2 }) });
const running = (spec: TaskSpec, state: TaskState = TaskState.RUNNING) =>
  Task.create({
    spec,
    specVersion: Version.create({ index: 1 }),
    desiredState: TaskState.RUNNING,
    status: TaskStatus.create({ state }),
  });

describe("a task is replaced", () => {
  it("when its spec differs, and not when only the service's version does", () => {
    expect(isTaskDirty(service(on("node.labels.disk==ssd", "b")), running(on("node.labels.disk==ssd", "a")), ssd)).toBe(
      true,
    );
    expect(isTaskDirty(service(on("node.labels.disk==ssd")), running(on("node.labels.disk==ssd")), ssd)).toBe(false);
  });

  it("for other constraints alone only when its node does not meet them", () => {
    const wanted = service(on("node.labels.disk==ssd"));
    expect(isTaskDirty(wanted, running(on("node.role==worker")), ssd)).toBe(false);
    expect(isTaskDirty(wanted, running(on("node.role==worker")), bare)).toBe(true);
    expect(isTaskDirty(service(on("node.labels.disk==ssd", "b")), running(on("node.role==worker")), ssd)).toBe(true);
  });

  it("for other registry credentials only while it has no image yet", () => {
    expect(isTaskDirty(service(withAuth("new")), running(withAuth("old"), TaskState.READY), bare)).toBe(false);
    expect(isTaskDirty(service(withAuth("new")), running(withAuth("old"), TaskState.PREPARING), bare)).toBe(true);
  });

  it("for another endpoint", () => {
    const ports = EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 80 })] });
    const task = { ...running(on("")), endpoint: Endpoint.create({ spec: EndpointSpec.create() }) };
    expect(isTaskDirty(service(on(""), ports), task, bare)).toBe(true);
    expect(isTaskDirty(service(on(""), EndpointSpec.create()), task, bare)).toBe(false);
  });
});
