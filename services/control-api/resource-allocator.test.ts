import {
  Annotations,
  AttachNetworkRequest,
  DetachNetworkRequest,
  Network,
  NetworkAttachmentConfig,
  NetworkSpec,
  Task,
  TaskState,
} from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger } from "@starling/base";
import { all, MemoryStore } from "@starling/store";
import { beforeEach, expect, it } from "vitest";
import { createResourceAllocatorHandlers } from "./index.ts";

let store: MemoryStore;
beforeEach(async () => {
  store = new MemoryStore();
  await store.update((tx) => {
    for (const attachable of [true, false]) {
      const name = attachable ? "open" : "closed";
      const spec = NetworkSpec.create({ annotations: Annotations.create({ name }), attachable });
      tx.networks.create(Network.create({ id: `id-of-${name}`, spec }));
    }
    tx.tasks.create(Task.create({ id: "service-task", nodeId: "n1", serviceId: "s" }));
  });
});

/** A node as caller. */
function node(nodeId: string) {
  const handlers = createResourceAllocatorHandlers({ store, clock: new FakeClock(5_000), log: nullLogger });
  const context = { caller: { nodeId } } as CallContext;
  return {
    attach: async (target: string, config: Partial<NetworkAttachmentConfig> = {}) => {
      const request = { config: NetworkAttachmentConfig.create({ ...config, target }), containerId: "ctr" };
      return (await handlers.attachNetwork(AttachNetworkRequest.create(request), context)).attachmentId;
    },
    attachNothing: () => handlers.attachNetwork(AttachNetworkRequest.create(), context),
    detach: (attachmentId: string) => handlers.detachNetwork(DetachNetworkRequest.create({ attachmentId }), context),
  };
}

const tasks = () => store.view((tx) => tx.tasks.find(all));

it("attaches a container by a task of its node that belongs to no service", async () => {
  const id = await node("n1").attach("id-of-open", { addresses: ["10.0.0.9"] });
  expect(store.view((tx) => tx.tasks.get(id))).toMatchObject({
    nodeId: "n1",
    serviceId: "",
    desiredState: TaskState.RUNNING,
    status: { state: TaskState.NEW, message: "created", timestamp: { seconds: 5, nanos: 0 } },
    spec: { attachment: { containerId: "ctr" }, networks: [{ target: "id-of-open", addresses: ["10.0.0.9"] }] },
  });
});

it("takes a network's name, and stores its id", async () => {
  const id = await node("n1").attach("open");
  expect(store.view((tx) => tx.tasks.get(id))?.spec.networks[0]?.target).toBe("id-of-open");
});

it("refuses networks that are not there or not attachable, and requests that name none", async () => {
  await expect(node("n1").attach("nowhere")).rejects.toMatchObject({
    code: "NotFound",
    message: expect.stringMatching(/nowhere not found/),
  });
  await expect(node("n1").attach("closed")).rejects.toMatchObject({
    code: "PermissionDenied",
    message: expect.stringMatching(/closed not manually attachable/),
  });
  await expect(node("n1").attach("")).rejects.toMatchObject({
    code: "InvalidArgument",
    message: expect.stringMatching(/config.target/),
  });
  await expect(node("n1").attachNothing()).rejects.toMatchObject({ code: "InvalidArgument" });
  expect(tasks()).toHaveLength(1);
});

it("detaches what the caller attached, and nothing else", async () => {
  const id = await node("n1").attach("open");
  await expect(node("n2").detach(id)).rejects.toMatchObject({ code: "PermissionDenied" });
  await expect(node("n1").detach("service-task")).rejects.toMatchObject({ code: "InvalidArgument" });
  await expect(node("n1").detach("")).rejects.toMatchObject({ code: "InvalidArgument" });
  expect(tasks()).toHaveLength(2);
  await node("n1").detach(id);
  expect(tasks().map((task) => task.id)).toEqual(["service-task"]);
  await expect(node("n1").detach(id)).rejects.toMatchObject({ code: "NotFound" });
});
