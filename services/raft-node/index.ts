export { type Files, nodeFiles, type WritableFile } from "./disk.ts";
export { defaultTiming, type RaftTiming } from "./driver.ts";
export { machineHost, type NextTurn, type PeerTransport, type RaftHost, type RaftNetwork } from "./host.ts";
export { checkHealth, joinCluster, memberAddress } from "./membership/join.ts";
export type { Member } from "./membership/membership.ts";
export type { MemberStatus, RaftHandlers, RaftNodeOptions, RaftStatus } from "./options.ts";
export { RaftNode } from "./raft-node.ts";
export type { RaftKeys } from "./seal.ts";
export { defaultSnapshotPolicy, type SnapshotPolicy } from "./snapshotter.ts";
