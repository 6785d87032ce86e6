import type { Control } from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { clusterHandlers } from "./cluster.ts";
import { configHandlers } from "./config.ts";
import type { ControlDeps } from "./deps.ts";
import { extensionHandlers } from "./extension.ts";
import { networkHandlers } from "./network.ts";
import { nodeHandlers } from "./node.ts";
import { resourceHandlers } from "./resource.ts";
import { secretHandlers } from "./secret.ts";
import { serviceHandlers } from "./service.ts";
import { taskHandlers } from "./task.ts";
import { volumeHandlers } from "./volume.ts";

/**
 * docker.swarmkit.v1.Control on the leader's store. Reads see committed state; writes are validated, checked again
 * inside their transaction, and answered once committed. Errors are SwarmErrors with Swarm's codes and texts.
 */
export function createControlHandlers(deps: ControlDeps): Handlers<typeof Control> {
  return {
    ...clusterHandlers(deps),
    ...configHandlers(deps),
    ...extensionHandlers(deps),
    ...networkHandlers(deps),
    ...nodeHandlers(deps),
    ...resourceHandlers(deps),
    ...secretHandlers(deps),
    ...serviceHandlers(deps),
    ...taskHandlers(deps),
    ...volumeHandlers(deps),
  };
}
