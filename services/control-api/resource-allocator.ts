import {
  AttachNetworkResponse,
  DetachNetworkResponse,
  type Network,
  NetworkAttachmentSpec,
  type ResourceAllocator,
  Task,
  TaskSpec,
  TaskState,
  TaskStatus,
  timestampOfMs,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { refuse, required } from "@starling/api/validation";
import { newId, SwarmError } from "@starling/base";
import { byName, type ReadTx } from "@starling/store";
import type { ControlDeps } from "./deps.ts";
import { found } from "./errors.ts";

/**
 * docker.swarmkit.v1.ResourceAllocator on the leader's store. An attachment is a task without service on the caller's
 * node: the allocator gives it addresses, and the node's agent gets it like any other task.
 */
export function createResourceAllocatorHandlers({
  store,
  clock,
  log,
}: Pick<ControlDeps, "store" | "clock" | "log">): Handlers<typeof ResourceAllocator> {
  return {
    /** NotFound for an unknown network, PermissionDenied for one that is not attachable. */
    async attachNetwork({ config, containerId }, { caller }) {
      const wanted = required(config, "config");
      required(wanted.target, "config.target");
      const task = await store.update((tx) => {
        const network = attachable(tx, wanted.target);
        return tx.tasks.create(
          Task.create({
            id: newId(),
            nodeId: caller.nodeId,
            spec: TaskSpec.create({
              attachment: NetworkAttachmentSpec.create({ containerId }),
              networks: [{ ...wanted, target: network.id }],
            }),
            status: TaskStatus.create({
              timestamp: timestampOfMs(clock.now()),
              state: TaskState.NEW,
              message: "created",
            }),
            desiredState: TaskState.RUNNING,
          }),
        );
      });
      log.info("network attachment created", {
        "task.id": task.id,
        "node.id": task.nodeId,
        "container.id": containerId,
      });
      return AttachNetworkResponse.create({ attachmentId: task.id });
    },

    /** Deletes the task: its addresses are free again, and the node hears that it is gone. */
    async detachNetwork({ attachmentId }, { caller }) {
      required(attachmentId, "attachment_id");
      await store.update((tx) => {
        const task = found(tx.tasks.get(attachmentId), "attachment", attachmentId);
        if (task.nodeId !== caller.nodeId) {
          throw new SwarmError("PermissionDenied", `attachment ${attachmentId} doesn't belong to this node`);
        }
        if (!task.spec.attachment) refuse(`attachment_id: ${attachmentId} is a task of another kind, no attachment`);
        tx.tasks.delete(attachmentId);
      });
      log.info("network attachment removed", { "task.id": attachmentId, "node.id": caller.nodeId });
      return DetachNetworkResponse.create();
    },
  };
}

/** By id, else by name. */
function attachable(tx: ReadTx, target: string): Network {
  const network = found(tx.networks.get(target) ?? tx.networks.find(byName(target))[0], "network", target);
  if (!network.spec.attachable) {
    throw new SwarmError(
      "PermissionDenied",
      `network ${target} not manually attachable: create it with --attachable to use it outside of services`,
    );
  }
  return network;
}
