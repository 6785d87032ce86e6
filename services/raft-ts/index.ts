export { Changer, type ChangerOptions, type Membership } from "./confchange/changer.ts";
export { asV2, confChangeOf, describeConfChanges, parseConfChanges } from "./confchange/conf-change.ts";
export { restoreMembership } from "./confchange/restore.ts";
export type { Config } from "./config.ts";
export {
  describeEntries,
  describeEntry,
  describeHardState,
  describeMessage,
  describeReady,
  describeSnapshot,
  describeSoftState,
  type EntryFormatter,
} from "./describe.ts";
export { describeConfChange, describeConfState } from "./describe-conf.ts";
export {
  ErrCompacted,
  ErrProposalDropped,
  ErrSnapOutOfDate,
  ErrSnapshotTemporarilyUnavailable,
  ErrStepLocalMsg,
  ErrStepPeerNotFound,
  ErrUnavailable,
  RaftError,
  RaftInvariantError,
} from "./errors.ts";
export { type Logger, type LogText, silentLogger } from "./logger.ts";
export { MemoryStorage } from "./memory-storage.ts";
export {
  entryTypeName,
  isLocalMessage,
  isResponseMessage,
  messageTypeName,
  stateTypeName,
} from "./message-kinds.ts";
export {
  describeJointProgress,
  type JointConfig,
  jointCommittedIndex,
  jointIds,
  jointVoteResult,
} from "./quorum/joint.ts";
export {
  type AckedIndexer,
  describeIndex,
  describeMajorityProgress,
  type MajorityConfig,
  majorityCommittedIndex,
  majorityVoteResult,
  sortedIds,
  VoteResult,
} from "./quorum/majority.ts";
export { RawNode } from "./raw-node.ts";
export type { BasicStatus, Status } from "./status.ts";
export type { InitialState, Storage } from "./storage.ts";
export { Progress, ProgressState } from "./tracker/progress.ts";
export {
  describeProgressMap,
  describeTrackerConfig,
  emptyTrackerConfig,
  type TrackerConfig,
} from "./tracker/tracker.ts";
export * from "./types.ts";
export {
  decodeConfChange,
  decodeConfChangeV2,
  decodeConfState,
  encodeConfChange,
  encodeConfChangeV2,
  encodeConfState,
  entriesSize,
  entrySize,
} from "./wire.ts";
