import {
  type Cluster,
  type Config,
  Control,
  ListClustersRequest,
  ListClustersRequest_Filters,
  ListConfigsRequest,
  ListConfigsRequest_Filters,
  ListNetworksRequest,
  ListNetworksRequest_Filters,
  ListNodesRequest,
  ListNodesRequest_Filters,
  ListSecretsRequest,
  ListSecretsRequest_Filters,
  ListServicesRequest,
  ListServicesRequest_Filters,
  ListTasksRequest,
  ListTasksRequest_Filters,
  type Network,
  type Node,
  type Secret,
  type Service,
  type Task,
  taskName,
} from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { GrpcClient } from "./grpc-client.ts";

interface Filters {
  readonly names?: readonly string[];
  readonly idPrefixes?: readonly string[];
}

/** How one noun's objects are listed and told apart. */
interface Noun<T> {
  readonly noun: string;
  list(client: GrpcClient, filters: Filters): Promise<readonly T[]>;
  name(object: T): string;
}

/**
 * The object that `reference` names: an exact id, else a name, else the only id that starts so. Throws NotFound, or
 * InvalidArgument that lists the candidates when there are several.
 */
async function resolve<T extends { readonly id: string }>(
  client: GrpcClient,
  { noun, list, name }: Noun<T>,
  reference: string,
): Promise<T> {
  const [named, prefixed] = await Promise.all([
    list(client, { names: [reference] }),
    list(client, { idPrefixes: [reference] }),
  ]);
  const exact = prefixed.find((object) => object.id === reference);
  if (exact) return exact;
  const matches = named.length > 0 ? named : prefixed;
  if (matches.length === 1) return matches[0]!;
  if (matches.length === 0) {
    throw new SwarmError("NotFound", `${noun} "${reference}" not found: see swarmctl ${noun} ls`);
  }
  const candidates = matches.map((object) => `${object.id} (${name(object)})`).join(", ");
  throw new SwarmError("InvalidArgument", `${noun} "${reference}" is ambiguous: give the id of one of ${candidates}`);
}

const services: Noun<Service> = {
  noun: "service",
  list: async (client, filters) =>
    (
      await client.call(
        Control.methods.listServices,
        ListServicesRequest.create({ filters: ListServicesRequest_Filters.create(filters) }),
      )
    ).services,
  name: (service) => service.spec.annotations.name,
};

const nodes: Noun<Node> = {
  noun: "node",
  list: async (client, filters) =>
    (
      await client.call(
        Control.methods.listNodes,
        ListNodesRequest.create({ filters: ListNodesRequest_Filters.create(filters) }),
      )
    ).nodes,
  name: (node) => node.description?.hostname ?? "",
};

const tasks: Noun<Task> = {
  noun: "task",
  list: async (client, filters) =>
    (
      await client.call(
        Control.methods.listTasks,
        ListTasksRequest.create({ filters: ListTasksRequest_Filters.create(filters) }),
      )
    ).tasks,
  name: taskName,
};

const networks: Noun<Network> = {
  noun: "network",
  list: async (client, filters) =>
    (
      await client.call(
        Control.methods.listNetworks,
        ListNetworksRequest.create({ filters: ListNetworksRequest_Filters.create(filters) }),
      )
    ).networks,
  name: (network) => network.spec.annotations.name,
};

const clusters: Noun<Cluster> = {
  noun: "cluster",
  list: async (client, filters) =>
    (
      await client.call(
        Control.methods.listClusters,
        ListClustersRequest.create({ filters: ListClustersRequest_Filters.create(filters) }),
      )
    ).clusters,
  name: (cluster) => cluster.spec.annotations.name,
};

const secrets: Noun<Secret> = {
  noun: "secret",
  list: async (client, filters) =>
    (
      await client.call(
        Control.methods.listSecrets,
        ListSecretsRequest.create({ filters: ListSecretsRequest_Filters.create(filters) }),
      )
    ).secrets,
  name: (secret) => secret.spec.annotations.name,
};

const configs: Noun<Config> = {
  noun: "config",
  list: async (client, filters) =>
    (
      await client.call(
        Control.methods.listConfigs,
        ListConfigsRequest.create({ filters: ListConfigsRequest_Filters.create(filters) }),
      )
    ).configs,
  name: (config) => config.spec.annotations.name,
};

export const resolveService = (client: GrpcClient, reference: string) => resolve(client, services, reference);
export const resolveNode = (client: GrpcClient, reference: string) => resolve(client, nodes, reference);
export const resolveTask = (client: GrpcClient, reference: string) => resolve(client, tasks, reference);
export const resolveNetwork = (client: GrpcClient, reference: string) => resolve(client, networks, reference);
export const resolveCluster = (client: GrpcClient, reference: string) => resolve(client, clusters, reference);
export const resolveSecret = (client: GrpcClient, reference: string) => resolve(client, secrets, reference);
export const resolveConfig = (client: GrpcClient, reference: string) => resolve(client, configs, reference);
