/** Pure: no clock, no I/O, no randomness. */
import { runtimeName, type Task, taskName } from "@starling/api";
import { SEPARATOR } from "../query.ts";
import { customIndex, referenced, type TableSchema } from "./index-key.ts";

const sameSpec = (before: Task, after: Task) => before.spec === after.spec;

/**
 * States have no trees: nearly every write changes one, which would copy two leaves in each tree, and what asks for them goes
 * through many tasks anyway.
 */
export const tasks: TableSchema<Task> = {
  nameOf: taskName,
  indexes: [
    { name: "name", scanned: true, keysOf: (task) => taskName(task).toLowerCase() },
    customIndex((task) => task.annotations),
    { name: "runtime", scanned: true, keysOf: (task) => runtimeName(task.spec) },
    {
      name: "slot",
      keysOf: (task) => task.serviceId + SEPARATOR + task.slot,
      same: (before, after) => before.slot === after.slot && before.serviceId === after.serviceId,
    },
    { name: "node", keysOf: (task) => task.nodeId },
    { name: "desiredState", scanned: true, keysOf: (task) => String(task.desiredState) },
    { name: "taskState", scanned: true, keysOf: (task) => String(task.status.state) },
    {
      name: "network",
      keysOf: (task) => referenced(task.spec.networks, (network) => network.target),
      same: sameSpec,
    },
    {
      name: "secret",
      keysOf: (task) => referenced(task.spec.container?.secrets, (secret) => secret.secretId),
      same: sameSpec,
    },
    {
      name: "config",
      keysOf: (task) => referenced(task.spec.container?.configs, (config) => config.configId),
      same: sameSpec,
    },
    { name: "volume", keysOf: (task) => referenced(task.volumes, (volume) => volume.id) },
  ],
};
