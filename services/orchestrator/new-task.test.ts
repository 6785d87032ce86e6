import { Endpoint, EndpointSpec, NetworkAttachmentConfig, PortConfig, TaskState } from "@starling/api";
import { describe, expect, it } from "vitest";
import { newTask } from "./new-task.ts";
import { service } from "./plan-fixture.ts";

describe("newTask", () => {
  const plain = service({ replicas: 1 });
  const { spec } = plain;
  const networks = [NetworkAttachmentConfig.create({ target: "net" })];
  const published = EndpointSpec.create({ ports: [PortConfig.create({ targetPort: 80 })] });
  const first = (of: typeof plain) =>
    newTask({ id: "t", service: of, cluster: undefined, slot: 1, desiredState: TaskState.RUNNING, nowMs: 1_500 });

  it("waits for no allocator that has nothing to give", () => {
    expect(first(plain).status).toMatchObject({
      state: TaskState.PENDING,
      message: "pending task scheduling",
      timestamp: { seconds: 1, nanos: 500_000_000 },
    });
    expect(first({ ...plain, spec: { ...spec, endpoint: EndpointSpec.create() } }).status.state).toBe(
      TaskState.PENDING,
    );
  });

  it.each([
    ["the task's networks", { ...plain, spec: { ...spec, task: { ...spec.task, networks } } }],
    ["the service's networks", { ...plain, spec: { ...spec, networks } }],
    ["ports", { ...plain, spec: { ...spec, endpoint: published } }],
    ["an endpoint that the service had and is to give back", { ...plain, endpoint: Endpoint.create() }],
  ])("waits for the allocator because of %s", (_, of) => {
    expect(first(of).status).toMatchObject({ state: TaskState.NEW, message: "created" });
  });
});
