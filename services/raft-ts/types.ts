/** Pure: no clock, no I/O, no randomness. */

// The nouns of Raft on the wire and on disk. Numbers and names of the enums are those of raftpb. Node ids are uint64 and
// therefore `bigint`; indexes, terms, ticks and sizes are safe integers (whoever decodes foreign bytes asserts that).

/** No node: "no leader", "no vote", "from myself". */
export const None = 0n;
/** Target of MsgStorageAppend: the host's thread that writes the log. Only with `asyncStorageWrites`. */
export const LocalAppendThread = 0xffff_ffff_ffff_ffffn;
/** Target of MsgStorageApply: the host's thread that applies committed entries. Only with `asyncStorageWrites`. */
export const LocalApplyThread = 0xffff_ffff_ffff_fffen;
/** "No limit" for every size of `Config`. */
export const noLimit = Number.MAX_SAFE_INTEGER;

/** The one empty payload. Never write into it. */
export const noData: Uint8Array = new Uint8Array(0);
/**
 * The empty payload of the entry that takes the place of a refused conf change. etcd-raft spells out that entry's type,
 * which counts two bytes in flow control; told apart by identity, as there, only until the entry is encoded here.
 */
export const refusedConfChangeData: Uint8Array = new Uint8Array(0);
export const noEntries: readonly Entry[] = Object.freeze([]);

export const EntryType = { EntryNormal: 0, EntryConfChange: 1, EntryConfChangeV2: 2 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

export const MessageType = {
  MsgHup: 0,
  MsgBeat: 1,
  MsgProp: 2,
  MsgApp: 3,
  MsgAppResp: 4,
  MsgVote: 5,
  MsgVoteResp: 6,
  MsgSnap: 7,
  MsgHeartbeat: 8,
  MsgHeartbeatResp: 9,
  MsgUnreachable: 10,
  MsgSnapStatus: 11,
  MsgCheckQuorum: 12,
  MsgTransferLeader: 13,
  MsgTimeoutNow: 14,
  MsgReadIndex: 15,
  MsgReadIndexResp: 16,
  MsgPreVote: 17,
  MsgPreVoteResp: 18,
  MsgStorageAppend: 19,
  MsgStorageAppendResp: 20,
  MsgStorageApply: 21,
  MsgStorageApplyResp: 22,
  MsgForgetLeader: 23,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

export const ConfChangeType = {
  ConfChangeAddNode: 0,
  ConfChangeRemoveNode: 1,
  ConfChangeUpdateNode: 2,
  ConfChangeAddLearnerNode: 3,
} as const;
export type ConfChangeType = (typeof ConfChangeType)[keyof typeof ConfChangeType];

/**
 * How a ConfChangeV2 uses joint consensus.
 * - Auto: the simple protocol for a single change, else as JointImplicit.
 * - JointImplicit: joint always; raft leaves the joint configuration by itself.
 * - JointExplicit: joint always; the application leaves it with an empty ConfChangeV2.
 */
export const ConfChangeTransition = {
  ConfChangeTransitionAuto: 0,
  ConfChangeTransitionJointImplicit: 1,
  ConfChangeTransitionJointExplicit: 2,
} as const;
export type ConfChangeTransition = (typeof ConfChangeTransition)[keyof typeof ConfChangeTransition];

/** Role of a node. */
export const StateType = { StateFollower: 0, StateCandidate: 1, StateLeader: 2, StatePreCandidate: 3 } as const;
export type StateType = (typeof StateType)[keyof typeof StateType];

/**
 * How linearizable reads are confirmed.
 * - ReadOnlySafe: by a round of heartbeats to a quorum.
 * - ReadOnlyLeaseBased: by the leader's lease; needs `checkQuorum` and bounded clock drift.
 */
export const ReadOnlyOption = { ReadOnlySafe: 0, ReadOnlyLeaseBased: 1 } as const;
export type ReadOnlyOption = (typeof ReadOnlyOption)[keyof typeof ReadOnlyOption];

/** Outcome of sending a snapshot, for `RawNode.reportSnapshot`. */
export const SnapshotStatus = { SnapshotFinish: 1, SnapshotFailure: 2 } as const;
export type SnapshotStatus = (typeof SnapshotStatus)[keyof typeof SnapshotStatus];

/** A log entry. Immutable once made; arrays of entries handed out by raft must not be changed either. */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly type: EntryType;
  /** Payload; for the two conf change types an encoded ConfChange or ConfChangeV2 (empty = leave the joint config). */
  readonly data: Uint8Array;
}

/** The membership as stored in snapshots. */
export interface ConfState {
  /** Voters of the incoming (or only) configuration. */
  readonly voters: readonly bigint[];
  readonly learners: readonly bigint[];
  /** Voters of the outgoing configuration; empty unless joint. */
  readonly votersOutgoing: readonly bigint[];
  /** Voters of the outgoing configuration that become learners when it is left. */
  readonly learnersNext: readonly bigint[];
  /** The joint configuration will be left by raft itself. */
  readonly autoLeave: boolean;
}

export interface SnapshotMetadata {
  readonly confState: ConfState;
  /** Last entry that the snapshot includes. 0 = empty snapshot. */
  readonly index: number;
  readonly term: number;
}

export interface Snapshot {
  readonly data: Uint8Array;
  readonly metadata: SnapshotMetadata;
}

/** What every server persists before it answers (Raft paper, figure 2), plus the commit index. */
export interface HardState {
  readonly term: number;
  readonly vote: bigint;
  readonly commit: number;
}

/** Volatile state, useful for logging and for knowing the leader. */
export interface SoftState {
  readonly lead: bigint;
  readonly raftState: StateType;
}

/** The answer to `RawNode.readIndex`: reads that carry `requestCtx` are safe once `index` is applied. */
export interface ReadState {
  readonly index: number;
  readonly requestCtx: Uint8Array;
}

/**
 * A message between raft nodes, or (MsgStorage*) between a node and its own storage threads.
 * `term` 0 marks a local message. `index`/`logTerm` name the entry that the message is about: the one before `entries` in
 * MsgApp, the last one of the candidate's log in MsgVote, the last one written in MsgStorageAppendResp.
 */
export interface Message {
  readonly type: MessageType;
  readonly to: bigint;
  readonly from: bigint;
  readonly term: number;
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  /** Only in MsgStorageAppend, where term, vote and commit make up the HardState (all zero = unchanged). */
  readonly vote: bigint;
  readonly snapshot?: Snapshot | undefined;
  readonly reject: boolean;
  /** MsgAppResp with `reject`: where the follower's log may match at best. */
  readonly rejectHint: number;
  readonly context?: Uint8Array | undefined;
  /** MsgStorage*: to be delivered once the work of this message is done (and durable, for appends). */
  readonly responses?: readonly Message[] | undefined;
}

/** A change of one node (the older form; Swarm uses it). */
export interface ConfChange {
  readonly type: ConfChangeType;
  readonly nodeId: bigint;
  readonly context?: Uint8Array | undefined;
  /** Opaque to raft; applications may use it to find their proposal again. */
  readonly id?: bigint | undefined;
}

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  /** 0 = ignored: how an application turns a committed change into nothing. */
  readonly nodeId: bigint;
}

/** Several changes at once, by joint consensus if needed. No changes and transition Auto: leave the joint configuration. */
export interface ConfChangeV2 {
  readonly transition?: ConfChangeTransition | undefined;
  readonly changes: readonly ConfChangeSingle[];
  readonly context?: Uint8Array | undefined;
}

export type AnyConfChange = ConfChange | ConfChangeV2;

/** A first member for `RawNode.bootstrap`. */
export interface Peer {
  readonly id: bigint;
  readonly context?: Uint8Array | undefined;
}

/**
 * Work for the host, in this order: persist `entries`, `hardState` and `snapshot`, durably if `mustSync`; send `messages`;
 * apply `snapshot`, then `committedEntries`; call `advance`.
 * With `asyncStorageWrites`: send `messages`, where those to LocalAppendThread and LocalApplyThread carry the other fields'
 * work; deliver their responses when it is done; never call `advance`.
 */
export interface Ready {
  /** Present when it changed. */
  readonly softState?: SoftState | undefined;
  /** Present when it changed. */
  readonly hardState?: HardState | undefined;
  readonly readStates: readonly ReadState[];
  /** To be appended to stable storage; may overwrite a suffix of it. */
  readonly entries: readonly Entry[];
  /** To be saved, and restored into the state machine. */
  readonly snapshot?: Snapshot | undefined;
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly Message[];
  /** The write must be durable before messages go out: there are entries, or term or vote changed. */
  readonly mustSync: boolean;
}

export const emptyConfState: ConfState = Object.freeze({
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
});
export const emptySnapshot: Snapshot = Object.freeze({
  data: noData,
  metadata: Object.freeze({ confState: emptyConfState, index: 0, term: 0 }),
});
export const emptyHardState: HardState = Object.freeze({ term: 0, vote: None, commit: 0 });

export function isEmptySnapshot(s: Snapshot | undefined): boolean {
  return s === undefined || s.metadata.index === 0;
}

export function isEmptyHardState(st: HardState | undefined): boolean {
  return st === undefined || isHardStateEqual(st, emptyHardState);
}

export function isHardStateEqual(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.commit === b.commit && a.vote === b.vote;
}

/** Is `id` one of the two storage threads? */
export function isLocalMsgTarget(id: bigint): boolean {
  return id === LocalAppendThread || id === LocalApplyThread;
}

/** A message with every field, zero unless given. One shape for all messages keeps property access monomorphic. */
export function newMessage(fields: Partial<Message> & { readonly type: MessageType }): Message {
  return {
    type: fields.type,
    to: fields.to ?? None,
    from: fields.from ?? None,
    term: fields.term ?? 0,
    logTerm: fields.logTerm ?? 0,
    index: fields.index ?? 0,
    entries: fields.entries ?? noEntries,
    commit: fields.commit ?? 0,
    vote: fields.vote ?? None,
    snapshot: fields.snapshot,
    reject: fields.reject ?? false,
    rejectHint: fields.rejectHint ?? 0,
    context: fields.context,
    responses: fields.responses,
  };
}
