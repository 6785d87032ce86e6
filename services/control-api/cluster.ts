import { randomBytes } from "node:crypto";
import {
  type CAConfig,
  type Cluster,
  type ClusterSpec,
  type Control,
  GetClusterResponse,
  ListClustersResponse,
  type RootCA,
  UpdateClusterResponse,
  unlockKeyBytes,
  unlockKeyOf,
  withUnlockKey,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { required, validateClusterSpec } from "@starling/api/validation";
import { withoutExpired } from "./blacklist.ts";
import { candidates } from "./candidates.ts";
import type { ControlDeps } from "./deps.ts";
import { found } from "./errors.ts";
import { passesEach } from "./filters.ts";
import { withNewSecret } from "./join-token.ts";
import { redactCluster } from "./redact.ts";

type ClusterMethods = "getCluster" | "listClusters" | "updateCluster";

export function clusterHandlers(deps: ControlDeps): Pick<Handlers<typeof Control>, ClusterMethods> {
  const { store, clock, log } = deps;
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
      const before = found(
        store.view((tx) => tx.clusters.get(clusterId)),
        "cluster",
        clusterId,
      );
      // A stale request is refused below, before a root is made for it.
      const isStale = before.meta.version.index !== version.index;
      const rootCa = isStale ? before.rootCa : await nextRootCa(deps, before, spec.caConfig);
      const updated = await store.update((tx) => {
        const cluster = found(tx.clusters.get(clusterId), "cluster", clusterId);
        const { joinTokens } = cluster.rootCa;
        const next: Cluster = {
          ...cluster,
          meta: { ...cluster.meta, version },
          // Keys have one place, which nothing reads from here.
          spec: { ...spec, caConfig: { ...spec.caConfig, signingCaKey: new Uint8Array() } },
          unlockKeys: withUnlockKey(cluster.unlockKeys, nextUnlockKey(cluster, spec, rotation.managerUnlockKey)),
          blacklistedCertificates: withoutExpired(cluster.blacklistedCertificates, clock.now()),
          rootCa: {
            ...rootCa,
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
        "rotated.root": startsRotation(before.rootCa, rootCa),
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

async function nextRootCa({ rootCa }: ControlDeps, cluster: Cluster, wanted: CAConfig): Promise<RootCA> {
  return rootCa === undefined ? cluster.rootCa : await rootCa.next(cluster, wanted);
}

function startsRotation(before: RootCA, after: RootCA): boolean {
  return after.rootRotation !== undefined && after.rootRotation.caCert !== before.rootRotation?.caCert;
}
