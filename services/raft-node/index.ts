export { defaultTiming, type RaftTiming } from "./driver.ts";
export { checkHealth, joinCluster, memberAddress } from "./membership/join.ts";
export type { Member } from "./membership/membership.ts";
export { type MemberStatus, type RaftHandlers, RaftNode, type RaftNodeOptions, type RaftStatus } from "./raft-node.ts";
export type { RaftKeys } from "./seal.ts";
export { defaultSnapshotPolicy, type SnapshotPolicy } from "./snapshotter.ts";
