import { type Cluster, Control, ListClustersRequest } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { GrpcClient } from "../client/grpc-client.ts";
import { resolveCluster } from "../client/resolve.ts";

/** The cluster that `reference` names; without one, the only cluster there is. */
export async function findCluster(client: GrpcClient, reference: string | undefined): Promise<Cluster> {
  if (reference !== undefined) return resolveCluster(client, reference);
  const { clusters } = await client.call(Control.methods.listClusters, ListClustersRequest.create());
  if (clusters[0] === undefined)
    throw new SwarmError("NotFound", "there is no cluster object: is swarmd still starting?");
  return clusters[0];
}
