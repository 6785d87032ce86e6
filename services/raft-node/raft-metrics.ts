import { metrics } from "@starling/base";

export const leaderGauge = metrics.gauge("swarm_raft_is_leader", "1 while this node is the raft leader.");
export const termGauge = metrics.gauge("swarm_raft_term", "Raft term.");
export const commitGauge = metrics.gauge("swarm_raft_commit_index", "Last committed raft entry known here.");
export const appliedGauge = metrics.gauge("swarm_raft_applied_index", "Last raft entry applied here.");
export const inflightGauge = metrics.gauge(
  "swarm_raft_proposals_in_flight",
  "Proposals of this leader not yet applied.",
);
export const diskFullGauge = metrics.gauge("swarm_raft_disk_full", "1 while the raft log waits for room on the disk.");
export const peersGauge = metrics.gauge(
  "swarm_raft_peers_reachable",
  "Other raft members that answer on their stream.",
);
export const leaderChanges = metrics.counter(
  "swarm_raft_leader_changes_total",
  "Changes of the raft leader seen here.",
);
export const sentBatches = metrics.counter(
  "swarm_raft_peer_batches_sent_total",
  "Batches of messages sent to raft peers.",
);
export const sentMessages = metrics.counter("swarm_raft_peer_messages_sent_total", "Messages sent to raft peers.");
