import { type Cluster, type ClusterSpec, Control, KeyRotation, UpdateClusterRequest } from "@starling/api";
import { SwarmError } from "@starling/base/errors";
import type { Context } from "../context.ts";
import { findCluster } from "./find.ts";

/** Tries before we say that someone else keeps changing the cluster. */
const triesMax = 10;

/** Reads the cluster, changes its spec, writes it back; anew when another write came between. */
export async function changeCluster(
  { client }: Context,
  reference: string | undefined,
  options: { readonly change?: (spec: ClusterSpec) => ClusterSpec; readonly rotation?: Partial<KeyRotation> },
): Promise<Cluster> {
  for (let attempt = 1; ; attempt++) {
    const present = await findCluster(client, reference);
    const request = UpdateClusterRequest.create({
      clusterId: present.id,
      clusterVersion: present.meta.version,
      spec: options.change?.(present.spec) ?? present.spec,
      rotation: KeyRotation.create(options.rotation),
    });
    try {
      return (await client.call(Control.methods.updateCluster, request)).cluster!;
    } catch (thrown) {
      const error = SwarmError.from(thrown);
      if (!error.message.includes("update out of sequence") || attempt === triesMax) throw error;
    }
  }
}
