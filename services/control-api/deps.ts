import type { RaftMember } from "@starling/api";
import type { Clock, Logger } from "@starling/base";
import type { MemoryStore } from "@starling/store";

/** What the control API must know of the Raft group. Implemented by the manager around its Raft node. */
export interface RaftView {
  /** The present members with their leader flag and reachability, as this manager sees them. */
  members(): readonly RaftMember[];
  /** Whether the group keeps its quorum without this member. */
  canRemoveMember(raftId: bigint): boolean;
}

export interface ControlDeps {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** Absent in tests without a Raft group: then no node has a manager status and none can be demoted. */
  readonly raft?: RaftView | undefined;
}
