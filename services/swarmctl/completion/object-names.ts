import {
  Control,
  ListConfigsRequest,
  ListNetworksRequest,
  ListNodesRequest,
  ListSecretsRequest,
  ListServicesRequest,
  ListTasksRequest,
} from "@starling/api";
import type { GrpcClient } from "../client/grpc-client.ts";
import { listImages, merge } from "../image/gather.ts";
import { listVolumes, placedVolumes } from "../volume/gather.ts";

const named = ({ spec }: { readonly spec: { readonly annotations: { readonly name: string } } }) =>
  spec.annotations.name;
const { methods } = Control;
/** A node that does not answer must not hold up a shell. */
const nodesTimeoutMs = 2_000;

/** Names of the images of all nodes that answer. */
async function imageNames(client: GrpcClient): Promise<string[]> {
  const { nodes } = await client.call(methods.listNodes, ListNodesRequest.create());
  const context = { client, signal: AbortSignal.timeout(nodesTimeoutMs) };
  const outcomes = await listImages(context, nodes);
  return [...new Set(merge(outcomes).flatMap(({ references }) => references))];
}

/** Names of the volumes of all nodes that answer. */
async function volumeNames(client: GrpcClient): Promise<string[]> {
  const { nodes } = await client.call(methods.listNodes, ListNodesRequest.create());
  const context = { client, signal: AbortSignal.timeout(nodesTimeoutMs) };
  return [...new Set(placedVolumes(await listVolumes(context, nodes)).map(({ volume }) => volume.name))];
}

const lists: Readonly<Record<string, (client: GrpcClient) => Promise<string[]>>> = {
  service: async (client) =>
    (await client.call(methods.listServices, ListServicesRequest.create())).services.map(named),
  network: async (client) =>
    (await client.call(methods.listNetworks, ListNetworksRequest.create())).networks.map(named),
  secret: async (client) => (await client.call(methods.listSecrets, ListSecretsRequest.create())).secrets.map(named),
  config: async (client) => (await client.call(methods.listConfigs, ListConfigsRequest.create())).configs.map(named),
  task: async (client) => (await client.call(methods.listTasks, ListTasksRequest.create())).tasks.map(({ id }) => id),
  image: imageNames,
  volume: volumeNames,
  node: async (client) =>
    (await client.call(methods.listNodes, ListNodesRequest.create())).nodes.map(
      ({ id, description }) => description?.hostname || id,
    ),
};

/** Names of all objects of a noun; none for a noun without names. Throws SwarmError. */
export async function objectNames(client: GrpcClient, noun: string): Promise<string[]> {
  return (await lists[noun]?.(client)) ?? [];
}
