export type { Config } from "./config.ts";
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
export { RawNode } from "./raw-node.ts";
export type { BasicStatus, Status } from "./status.ts";
export type { InitialState, Storage } from "./storage.ts";
export { Progress, ProgressState } from "./tracker/progress.ts";
export type { TrackerConfig } from "./tracker/tracker.ts";
export * from "./types.ts";
