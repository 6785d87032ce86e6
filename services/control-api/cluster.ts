import { randomBytes } from "node:crypto";
import {
  type Cluster,
  type ClusterSpec,
  type Control,
  GetClusterResponse,
  ListClustersResponse,
  UpdateClusterResponse,
  unlockKeyBytes,
  unlockKeyOf,
  withUnlockKey,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { required, validateClusterSpec } from "@starling/api/validation";
import { SwarmError } from "@starling/base";
import { withoutExpired } from "./blacklist.ts";
import { candidates } from "./candidates.ts";
import type { ControlDeps } from "./deps.ts";
import { found } from "./errors.ts";
import { passesEach } from "./filters.ts";
import { withNewSecret } from "./join-token.ts";
import { redactCluster } from "./redact.ts";

type ClusterMethods = "getCluster" | "listClusters" | "updateCluster";

export function clusterHandlers({ store, clock, log }: ControlDeps): Pick<Handlers<typeof Control>, ClusterMethods> {
  return {
    async getCluster({ clusterId }) {
      required(clusterId, "cluster id");
      const cluster = found(await store.read((tx) => tx.clusters.get(clusterId)), "cluster", clusterId);
      return GetClusterResponse.create({ cluster: redactCluster(cluster) });
    },

    async listClusters({ filters }) {
      const clusters = await store.read((tx) => tx.clusters.find(candidates(filters)));
      return ListClustersResponse.create({
        clusters: clusters
          .filter(({ id, spec: { annotations } }) =>
            passesEach(filters, { id, name: annotations.name, labels: annotations.labels }),
          )
          .map(redactCluster),
      });
    },

    async updateCluster(request) {
      const { clusterId, rotation } = request;
      required(clusterId, "cluster id");
      const version = required(request.clusterVersion, "cluster version");
      const spec = validateClusterSpec(request.spec);
      const updated = await store.update((tx) => {
        const cluster = found(tx.clusters.get(clusterId), "cluster", clusterId);
        checkOffered(cluster, spec);
        const { joinTokens } = cluster.rootCa;
        const next: Cluster = {
          ...cluster,
          meta: { ...cluster.meta, version },
          spec,
          unlockKeys: withUnlockKey(cluster.unlockKeys, nextUnlockKey(cluster, spec, rotation.managerUnlockKey)),
          blacklistedCertificates: withoutExpired(cluster.blacklistedCertificates, clock.now()),
          rootCa: {
            ...cluster.rootCa,
            joinTokens: {
              ...joinTokens,
              worker: rotation.workerJoinToken ? withNewSecret(joinTokens.worker, randomBytes) : joinTokens.worker,
              manager: rotation.managerJoinToken ? withNewSecret(joinTokens.manager, randomBytes) : joinTokens.manager,
            },
          },
        };
        return tx.clusters.update(next);
      });
      log.info("cluster updated", {
        "cluster.id": clusterId,
        "rotated.worker": rotation.workerJoinToken,
        "rotated.manager": rotation.managerJoinToken,
        "rotated.unlock-key": rotation.managerUnlockKey,
      });
      return UpdateClusterResponse.create({ cluster: redactCluster(updated) });
    },
  };
}

/** A key is made when autolock is switched on, or on demand; it goes when autolock is switched off (Swarm: UpdateCluster). */
function nextUnlockKey(cluster: Cluster, spec: ClusterSpec, rotate: boolean): Uint8Array | undefined {
  if (!spec.encryptionConfig.autoLockManagers) return undefined;
  const present = unlockKeyOf(cluster);
  return present === undefined || rotate ? randomBytes(unlockKeyBytes) : present;
}

/** Refuses what the cluster would promise but not do. */
function checkOffered(cluster: Cluster, spec: ClusterSpec): void {
  const unoffered = (what: string) => new SwarmError("Unimplemented", `${what} is not offered yet`);
  if (spec.caConfig.externalCas.length > 0) throw unoffered("an external CA");
  const { signingCaCert, forceRotate } = spec.caConfig;
  if (signingCaCert.length > 0 || forceRotate !== cluster.rootCa.lastForcedRotation) {
    throw unoffered("rotation of the root CA");
  }
}
