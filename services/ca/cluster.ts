import { randomBytes } from "node:crypto";
import {
  AcceptancePolicy,
  Annotations,
  CAConfig,
  Cluster,
  ClusterSpec,
  DispatcherConfig,
  defaultAddressPools,
  defaultClusterName,
  defaultSubnetSize,
  defaultVxlanPort,
  durationOfMs,
  EncryptionConfig,
  JoinTokens,
  OrchestrationConfig,
  RaftConfig,
  RootCA as RootCAObject,
  TaskDefaults,
  withUnlockKey,
} from "@starling/api";
import { formatJoinToken } from "./join-token.ts";
import { newSealingKey } from "./key-file.ts";
import { nodeValidityMs, RootCA } from "./root-ca.ts";

/** Old tasks kept per slot (Swarm: defaultTaskHistoryRetentionLimit). */
const taskHistoryRetentionLimit = 5;
const heartbeatPeriodMs = 1_000;
/** Swarm's DefaultRaftConfig. */
const raft = { snapshotInterval: 10_000, keepOldSnapshots: 0, logEntriesForSlowFollowers: 500 };

export interface ClusterDefaults {
  /** Undefined or empty: the defaults of both families. */
  readonly defaultAddressPool?: readonly string[];
  readonly subnetSize?: number;
  readonly vxlanUdpPort?: number;
  readonly autoLockManagers?: boolean;
  /** Of raft, in ticks of 100 ms. */
  readonly electionTick?: number;
  readonly heartbeatTick?: number;
}

/** A cluster's first object, to be created by its first manager. Join tokens are new ones. */
export function newCluster(options: {
  readonly clusterId: string;
  readonly rootCA: RootCA;
  readonly defaults?: ClusterDefaults;
}): Cluster {
  const { clusterId, rootCA, defaults = {} } = options;
  const { autoLockManagers = false, electionTick = 8, heartbeatTick = 2 } = defaults;
  return Cluster.create({
    id: clusterId,
    spec: ClusterSpec.create({
      annotations: Annotations.create({ name: defaultClusterName }),
      acceptancePolicy: AcceptancePolicy.create(),
      orchestration: OrchestrationConfig.create({ taskHistoryRetentionLimit }),
      raft: RaftConfig.create({ ...raft, heartbeatTick, electionTick }),
      dispatcher: DispatcherConfig.create({ heartbeatPeriod: durationOfMs(heartbeatPeriodMs) }),
      caConfig: CAConfig.create({ nodeCertExpiry: durationOfMs(nodeValidityMs) }),
      taskDefaults: TaskDefaults.create(),
      encryptionConfig: EncryptionConfig.create({ autoLockManagers }),
    }),
    unlockKeys: withUnlockKey([], autoLockManagers ? newSealingKey() : undefined),
    rootCa: RootCAObject.create({
      caKey: Buffer.from(rootCA.keyPem ?? ""),
      caCert: Buffer.from(rootCA.certificatePem),
      caCertHash: rootCA.digestText,
      joinTokens: JoinTokens.create({ worker: newJoinToken(rootCA), manager: newJoinToken(rootCA) }),
    }),
    defaultAddressPool: defaults.defaultAddressPool?.length ? defaults.defaultAddressPool : defaultAddressPools,
    subnetSize: defaults.subnetSize ?? defaultSubnetSize,
    vxlanUdpPort: defaults.vxlanUdpPort ?? defaultVxlanPort,
  });
}

/** A token with a new secret, e.g. to replace one that leaked. */
export function newJoinToken(rootCA: Pick<RootCA, "digest">): string {
  return formatJoinToken({ rootDigest: rootCA.digest, secret: randomBytes(16) });
}

/**
 * The cluster's root with the key that signs now: during a root rotation the new one's, cross-signed by the old. Without a key
 * when an external CA holds it.
 */
export function rootOf(cluster: Cluster): RootCA {
  const { caCert, caKey, rootRotation } = cluster.rootCa;
  const certificatePem = pemText(caCert);
  if (rootRotation !== undefined) {
    return RootCA.fromPem({
      certificatePem,
      keyPem: pemText(rootRotation.caKey),
      signerPem: pemText(rootRotation.caCert),
      intermediatesPem: pemText(rootRotation.crossSignedCaCert),
    });
  }
  return RootCA.fromPem({ certificatePem, keyPem: pemText(caKey) });
}

/** The root (PEM) that nodes' certificates are to be issued by: during a rotation the one that it leads to. */
export function wantedRoot({ rootCa: { caCert, rootRotation } }: Pick<Cluster, "rootCa">): string {
  return pemText(rootRotation?.caCert ?? caCert);
}

/** PEM as the store holds it. */
export function pemText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}
