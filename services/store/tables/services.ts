/** Pure: no clock, no I/O, no randomness. */
import { runtimeName, type Service } from "@starling/api";
import { annotationIndexes, referenced, type TableSchema } from "./index-key.ts";

export const services: TableSchema<Service> = {
  nameOf: (service) => service.spec.annotations.name,
  indexes: [
    ...annotationIndexes<Service>((service) => service.spec.annotations),
    { name: "runtime", keysOf: (service) => runtimeName(service.spec.task) },
    { name: "network", keysOf: (service) => referenced(networksOf(service), (network) => network.target) },
    { name: "secret", keysOf: ({ spec }) => referenced(spec.task.container?.secrets, (secret) => secret.secretId) },
    { name: "config", keysOf: ({ spec }) => referenced(spec.task.container?.configs, (config) => config.configId) },
  ],
};

/** Networks stand in the task spec; older clients put them beside it. */
function networksOf({ spec }: Service): Service["spec"]["networks"] {
  return spec.task.networks.length > 0 ? spec.task.networks : spec.networks;
}
