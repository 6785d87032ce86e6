/** Pure: no clock, no I/O, no randomness. */

import { checkAddressPoolLabels } from "../address-pools.ts";
import { defaultClusterName } from "../defaults/cluster.ts";
import { durationMs } from "../duration.ts";
import type { ClusterSpec } from "../gen/messages.js";
import { checkPatienceLabels } from "../node-patience.ts";
import { checkPlacementStrategy } from "../placement-strategy.ts";
import { checkRebalanceLabels } from "../rebalance.ts";
import { refuse, required } from "./refuse.ts";

const nodeCertExpiryMinMs = 3_600_000;

export function validateClusterSpec(spec: ClusterSpec | undefined): ClusterSpec {
  const cluster = required(spec, "cluster spec");
  const { nodeCertExpiry, signingCaCert, signingCaKey } = cluster.caConfig;
  if (nodeCertExpiry && durationMs(nodeCertExpiry) < nodeCertExpiryMinMs) {
    refuse(`minimum certificate expiry time is: 1h0m0s: ${durationMs(nodeCertExpiry) / 1000}s is too short`);
  }
  if (signingCaKey.length > 0 && signingCaCert.length === 0) {
    refuse("if a signing CA key is provided, the signing CA cert must also be provided");
  }
  for (const { secret } of cluster.acceptancePolicy.policies) {
    if (secret && secret.alg.toLowerCase() !== "bcrypt") {
      refuse(`hashing algorithm is not supported: ${secret.alg}: use bcrypt`);
    }
  }
  if (durationMs(cluster.dispatcher.heartbeatPeriod) < 0) {
    refuse("heartbeat time period cannot be a negative duration");
  }
  const { electionTick, heartbeatTick } = cluster.raft;
  if (electionTick > 0 && heartbeatTick >= electionTick) {
    refuse(
      `raft: heartbeat tick ${heartbeatTick} must be below election tick ${electionTick}: followers would not wait for it`,
    );
  }
  if (cluster.annotations.name !== defaultClusterName) {
    refuse(`modification of cluster name is not allowed: keep "${defaultClusterName}"`);
  }
  checkPatienceLabels(cluster.annotations.labels);
  checkPlacementStrategy(cluster.annotations.labels);
  checkRebalanceLabels(cluster.annotations.labels);
  checkAddressPoolLabels(cluster.annotations.labels);
  return cluster;
}
