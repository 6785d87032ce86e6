import { type Cluster, ClusterSpec, Control, KeyRotation, UpdateClusterRequest } from "@starling/api";
import { changeOnce } from "../client/certain.ts";
import { sameMessage } from "../client/same-message.ts";
import type { Context } from "../context.ts";
import { findCluster } from "./find.ts";

/** Reads the cluster, changes its spec, writes it back; anew when another write came between or the answer was lost. */
export async function changeCluster(
  context: Context,
  reference: string | undefined,
  options: { readonly change?: (spec: ClusterSpec) => ClusterSpec; readonly rotation?: Partial<KeyRotation> },
): Promise<Cluster> {
  const { client } = context;
  const { rotation = {} } = options;
  const changed = (spec: ClusterSpec) => options.change?.(spec) ?? spec;
  return await changeOnce(context, {
    read: () => findCluster(client, reference),
    write: async (present) => {
      const request = UpdateClusterRequest.create({
        clusterId: present.id,
        clusterVersion: present.meta.version,
        spec: changed(present.spec),
        rotation: KeyRotation.create(rotation),
      });
      return (await client.call(Control.methods.updateCluster, request)).cluster!;
    },
    isDone: (present, base) => {
      const before = base.rootCa.joinTokens;
      const after = present.rootCa.joinTokens;
      return (
        sameMessage(ClusterSpec, changed(present.spec), present.spec) &&
        !(rotation.workerJoinToken && before.worker === after.worker) &&
        !(rotation.managerJoinToken && before.manager === after.manager) &&
        // Unlock keys do not show here; a second rotation does no harm.
        !rotation.managerUnlockKey
      );
    },
  });
}
