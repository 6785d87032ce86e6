import type { FieldRow } from "./service-fields.ts";

const noDriver = "refused: no secret driver is offered";
const root = "a new root: `cluster ca --rotate`, with --ca-cert and --ca-key";
const accept = "not looked at any more: join tokens accept nodes";

/** Of `network create NAME`: every field of NetworkSpec. */
export const networkFields: readonly FieldRow[] = [
  ["annotations.name", ["--name", "x"]],
  ["annotations.labels", ["--label", "a=b"]],
  ["driverConfig.name", ["--driver", "d"]],
  ["driverConfig.options", ["--opt", "a=b"]],
  ["ipv6Enabled", ["--ipv6"]],
  ["internal", ["--internal"]],
  ["ipam.driver.name", ["--ipam-driver", "d"]],
  ["ipam.driver.options", ["--ipam-opt", "a=b"]],
  ["ipam.configs.family", ["--subnet", "10.1.0.0/24"]],
  ["ipam.configs.subnet", ["--subnet", "10.1.0.0/24"]],
  ["ipam.configs.range", ["--subnet", "10.1.0.0/24", "--ip-range", "10.1.0.128/25"]],
  ["ipam.configs.gateway", ["--subnet", "10.1.0.0/24", "--gateway", "10.1.0.7"]],
  ["ipam.configs.reserved", ["--subnet", "10.1.0.0/24", "--aux-address", "router=10.1.0.9"]],
  ["attachable", ["--attachable"]],
  ["ingress", ["--ingress"]],
  ["network", "config-from, for networks that a node makes by itself: refused, none are offered"],
];

/** Of `node update NODE`: every field of NodeSpec. */
export const nodeFields: readonly FieldRow[] = [
  ["annotations.name", ["--name", "x"]],
  ["annotations.labels", ["--label-add", "a=b"]],
  ["desiredRole", ["--role", "manager"]],
  ["membership", accept],
  ["availability", ["--availability", "drain"]],
];

/** Of `cluster update`: every field of ClusterSpec. */
export const clusterFields: readonly FieldRow[] = [
  ["annotations.name", "always default: a change is refused"],
  ["annotations.labels", ["--label-add", "a=b"]],
  ["acceptancePolicy.policies.role", accept],
  ["acceptancePolicy.policies.autoaccept", accept],
  ["acceptancePolicy.policies.secret.data", accept],
  ["acceptancePolicy.policies.secret.alg", accept],
  ["orchestration.taskHistoryRetentionLimit", ["--task-history-limit", "3"]],
  ["raft.snapshotInterval", ["--snapshot-interval", "3"]],
  ["raft.keepOldSnapshots", ["--max-snapshots", "3"]],
  ["raft.logEntriesForSlowFollowers", ["--log-entries-for-slow-followers", "3"]],
  ["raft.heartbeatTick", ["--heartbeat-tick", "3"]],
  ["raft.electionTick", ["--election-tick", "3"]],
  ["dispatcher.heartbeatPeriod", ["--dispatcher-heartbeat", "3s"]],
  ["caConfig.nodeCertExpiry", ["--cert-expiry", "3h"]],
  ["caConfig.externalCas.protocol", ["--external-ca", "protocol=cfssl,url=https://x"]],
  ["caConfig.externalCas.url", ["--external-ca", "url=https://x"]],
  ["caConfig.externalCas.options", ["--external-ca", "url=https://x,a=b"]],
  ["caConfig.externalCas.caCert", ["--external-ca", "url=https://x,cacert=CERTIFICATE"]],
  ["caConfig.signingCaCert", root],
  ["caConfig.signingCaKey", root],
  ["caConfig.forceRotate", root],
  ["taskDefaults.logDriver.name", ["--log-driver", "none"]],
  ["taskDefaults.logDriver.options", ["--log-opt", "max-size=1m"]],
  ["encryptionConfig.autoLockManagers", ["--autolock"]],
];

/** Of `secret create NAME`: every field of SecretSpec. */
export const secretFields: readonly FieldRow[] = [
  ["annotations.labels", ["--label", "a=b"]],
  ["data", "standard input, or --file"],
  ["templating.name", ["--template-driver", "golang"]],
  ["templating.options", "the one driver there is, golang, has none"],
  ["driver.name", ["--driver", "d"]],
  ["driver.options", noDriver],
];

/** Of `config create NAME`: every field of ConfigSpec. */
export const configFields: readonly FieldRow[] = secretFields.filter(([field]) => !field.startsWith("driver."));
