/** Pure: no clock, no I/O, no randomness. */
import type { Kind, ObjectOf } from "../objects.ts";
import { clusters } from "./clusters.ts";
import { configs } from "./configs.ts";
import { extensions } from "./extensions.ts";
import type { TableSchema } from "./index-key.ts";
import { networks } from "./networks.ts";
import { nodes } from "./nodes.ts";
import { resources } from "./resources.ts";
import { secrets } from "./secrets.ts";
import { services } from "./services.ts";
import { tasks } from "./tasks.ts";
import { volumes } from "./volumes.ts";

export const schemas: { readonly [K in Kind]: TableSchema<ObjectOf[K]> } = {
  cluster: clusters,
  config: configs,
  extension: extensions,
  network: networks,
  node: nodes,
  resource: resources,
  secret: secrets,
  service: services,
  task: tasks,
  volume: volumes,
};
