/** Pure: no clock, no I/O, no randomness. */

/** A refusal by raft or its storage. The `Err*` values below are singletons: compare with `===`. */
export class RaftError extends Error {
  override readonly name = "RaftError";
}

function sentinel(message: string): RaftError {
  const err = new RaftError(message);
  // A stack taken at load time would only mislead; none makes throwing cheap, too.
  err.stack = `RaftError: ${message}`;
  return err;
}

/** The proposal was ignored (no leader, leader transfer, size limit, not a member); the proposer may fail fast or retry. */
export const ErrProposalDropped = sentinel("raft proposal dropped");
/** `RawNode.step` was given a local message that came over the network. */
export const ErrStepLocalMsg = sentinel("raft: cannot step raft local message");
/** `RawNode.step` was given a response of a node that is not (or no longer) a member. */
export const ErrStepPeerNotFound = sentinel("raft: cannot step as peer not found");
/** Storage: the index predates the last snapshot. */
export const ErrCompacted = sentinel("requested index is unavailable due to compaction");
/** Storage: the index is older than the existing snapshot. */
export const ErrSnapOutOfDate = sentinel("requested index is older than the existing snapshot");
/** Storage: the entries are not there. */
export const ErrUnavailable = sentinel("requested entry at index is unavailable");
/** Storage: ask again later. */
export const ErrSnapshotTemporarilyUnavailable = sentinel("snapshot is temporarily unavailable");

/** An invariant is broken, by raft or by its host. The node must not go on. */
export class RaftInvariantError extends Error {
  override readonly name = "RaftInvariantError";
}
