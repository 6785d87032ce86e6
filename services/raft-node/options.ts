import type { ChannelCredentials } from "@grpc/grpc-js";
import type { Raft, RaftMemberStatus_Reachability, RaftMembership, RaftPeer } from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import type { Clock, Logger, Random, SwarmError } from "@starling/base";
import type { StateMachine } from "@starling/store";
import type { RaftTiming } from "./driver.ts";
import type { RaftHost } from "./host.ts";
import type { Member } from "./membership/membership.ts";
import type { RaftKeys } from "./seal.ts";
import type { SnapshotPolicy } from "./snapshotter.ts";

export interface RaftNodeOptions {
  /** Log and snapshots go below `stateDir`/raft. */
  readonly stateDir: string;
  readonly nodeId: string;
  /** `host:port` under which the other managers reach this one. */
  readonly addr: string;
  readonly stateMachine: StateMachine;
  /** For the streams to other managers; asked anew for each connection, so that renewed certificates are used. */
  readonly transportCredentials: () => ChannelCredentials;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Joins through the manager at `remote` when there is no log yet; without it a new cluster of one is made. */
  readonly join?: { readonly remote: string };
  /** Raft id of a new cluster's first member; random by default. */
  readonly raftId?: bigint;
  /** Goes on as the only member, with what is in the log here. */
  readonly forceNewCluster?: boolean;
  /** Encryption of log and snapshots; without keys they are written in the clear. */
  readonly keys?: RaftKeys;
  /** Nothing on disk is sealed with an older key than the current one (or not at all) any more: forget those. */
  readonly onKeysRetired?: () => void;
  readonly timing?: Partial<RaftTiming>;
  readonly snapshots?: Partial<SnapshotPolicy>;
  /** Size of a log file; default 16 MiB. */
  readonly segmentBytes?: number;
  /** Disk, network and event loop; default: this machine's. */
  readonly host?: RaftHost;
  /** True when this node leads and has applied everything committed before; false when that ends. */
  readonly onLeadership?: (isLeader: boolean) => void;
  /** Members, addresses or the leader changed. */
  readonly onMembers?: () => void;
  /** This member was removed from the group: stop it and forget its state. */
  readonly onRemoved?: () => void;
  /** The node has stopped because it must not go on: a failed write, damage, an entry that cannot be applied. */
  readonly onFatal: (error: SwarmError) => void;
}

/** A member as `node ls` shows it. */
export interface MemberStatus extends Member {
  /** False while it still catches up after its join. */
  readonly voter: boolean;
  readonly leader: boolean;
  /** UNKNOWN: it answers, and has no vote yet. */
  readonly reachability: RaftMemberStatus_Reachability;
}

export interface RaftStatus {
  readonly raftId: bigint;
  /** 0 while no leader is known. */
  readonly leaderId: bigint;
  /** Leadership as signalled by onLeadership. */
  readonly isLeader: boolean;
  /** `StateFollower`, `StatePreCandidate`, `StateCandidate`, `StateLeader`. */
  readonly state: string;
  readonly term: number;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** "disk full at …" while this node waits for room and acknowledges nothing. */
  readonly diskFull: string | undefined;
}

/** What a manager's server registers for raft. Usable before `start`: until then they answer Unavailable. */
export interface RaftHandlers {
  readonly raft: Handlers<typeof Raft>;
  readonly peer: Handlers<typeof RaftPeer>;
  /** To be served by the leader: register them behind the leader proxy. */
  readonly membership: Handlers<typeof RaftMembership>;
}
