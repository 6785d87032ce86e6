/** Pure: no clock, no I/O, no randomness. */
import { RaftError } from "./errors.ts";
import { type Logger, silentLogger } from "./logger.ts";
import type { Storage } from "./storage.ts";
import { isLocalMsgTarget, None, noLimit, ReadOnlyOption } from "./types.ts";

export interface Config {
  /** This node. Not 0 and not one of the two storage threads. */
  readonly id: bigint;
  /** Ticks without a word of the leader before a follower campaigns; the real timeout is random in [n, 2n-1]. */
  readonly electionTick: number;
  /** Ticks between heartbeats; less than electionTick (a tenth is usual). */
  readonly heartbeatTick: number;
  readonly storage: Storage;
  /** Uniform in [0, 1): spreads election timeouts. `Math.random` in production, seeded in simulations. */
  readonly random: () => number;
  /** Index of the last applied entry when restarting; what is at or below it is not handed out again. Default 0. */
  readonly applied?: number;
  /** Write through MsgStorageAppend/MsgStorageApply messages instead of Ready/advance. See `Ready`. */
  readonly asyncStorageWrites?: boolean;
  /** Bytes of entries in one MsgApp, at least one entry. `noLimit` allowed; 0 = one entry a message. */
  readonly maxSizePerMsg: number;
  /** Bytes of committed entries handed out and not yet applied. Default (and 0): maxSizePerMsg. */
  readonly maxCommittedSizePerReady?: number;
  /** Bytes of proposals in the leader's uncommitted tail; beyond it proposals are dropped. Default (and 0): no limit. */
  readonly maxUncommittedEntriesSize?: number;
  /** MsgApp in flight to one peer. */
  readonly maxInflightMsgs: number;
  /** Bytes of entries in flight to one peer; at least maxSizePerMsg. Default (and 0): no limit. */
  readonly maxInflightBytes?: number;
  /** The leader steps down when no quorum was heard of for an election timeout; followers refuse votes meanwhile. */
  readonly checkQuorum?: boolean;
  /** Ask whether an election could be won before raising the term (Raft thesis §9.6). */
  readonly preVote?: boolean;
  /** Default ReadOnlySafe. ReadOnlyLeaseBased needs checkQuorum. */
  readonly readOnlyOption?: ReadOnlyOption;
  /** Default: silent. */
  readonly logger?: Logger;
  /** Followers drop proposals instead of forwarding them. */
  readonly disableProposalForwarding?: boolean;
  /** Propose conf changes unchecked: only for hosts that serialize and check them themselves. */
  readonly disableConfChangeValidation?: boolean;
  /** A leader that is removed or demoted steps down at once. */
  readonly stepDownOnRemoval?: boolean;
}

export type CheckedConfig = Required<Config>;

function refuse(field: string, value: unknown, remedy: string): never {
  throw new RaftError(`raft config ${field}=${String(value)}: ${remedy}`);
}

function size(field: string, value: number, min: number): number {
  if (value === Number.POSITIVE_INFINITY) return noLimit;
  if (!Number.isSafeInteger(value) || value < min) refuse(field, value, `must be an integer of at least ${min}`);
  return value;
}

/**
 * Check `config` and fill in the defaults.
 * @throws RaftError naming field, value and remedy.
 */
export function checkConfig(config: Config): CheckedConfig {
  if (config.id === None) refuse("id", config.id, "0 means no node; choose another id");
  if (config.id < 0n || config.id > 0xffff_ffff_ffff_ffffn) refuse("id", config.id, "must fit into 64 bits");
  if (isLocalMsgTarget(config.id)) refuse("id", config.id, "is reserved for a storage thread; choose another id");
  if (config.storage === undefined) refuse("storage", config.storage, "must be given");
  if (typeof config.random !== "function") refuse("random", config.random, "must be a function, such as Math.random");
  const heartbeatTick = size("heartbeatTick", config.heartbeatTick, 1);
  const electionTick = size("electionTick", config.electionTick, 1);
  if (electionTick <= heartbeatTick) {
    refuse("electionTick", electionTick, `must be greater than heartbeatTick (${heartbeatTick})`);
  }
  const maxSizePerMsg = size("maxSizePerMsg", config.maxSizePerMsg, 0);
  const maxCommittedSizePerReady =
    size("maxCommittedSizePerReady", config.maxCommittedSizePerReady ?? 0, 0) || maxSizePerMsg;
  if (maxCommittedSizePerReady === 0) {
    refuse("maxCommittedSizePerReady", 0, "must be positive when maxSizePerMsg is 0, else nothing is ever applied");
  }
  const maxInflightBytes = size("maxInflightBytes", config.maxInflightBytes ?? 0, 0) || noLimit;
  if (maxInflightBytes < maxSizePerMsg) {
    refuse("maxInflightBytes", maxInflightBytes, `must be at least maxSizePerMsg (${maxSizePerMsg})`);
  }
  const readOnlyOption = config.readOnlyOption ?? ReadOnlyOption.ReadOnlySafe;
  const checkQuorum = config.checkQuorum ?? false;
  if (readOnlyOption === ReadOnlyOption.ReadOnlyLeaseBased && !checkQuorum) {
    refuse("readOnlyOption", "ReadOnlyLeaseBased", "needs checkQuorum: the lease rests on it");
  }
  return {
    id: config.id,
    electionTick,
    heartbeatTick,
    storage: config.storage,
    random: config.random,
    applied: size("applied", config.applied ?? 0, 0),
    asyncStorageWrites: config.asyncStorageWrites ?? false,
    maxSizePerMsg,
    maxCommittedSizePerReady,
    maxUncommittedEntriesSize: size("maxUncommittedEntriesSize", config.maxUncommittedEntriesSize ?? 0, 0) || noLimit,
    maxInflightMsgs: size("maxInflightMsgs", config.maxInflightMsgs, 1),
    maxInflightBytes,
    checkQuorum,
    preVote: config.preVote ?? false,
    readOnlyOption,
    logger: config.logger ?? silentLogger,
    disableProposalForwarding: config.disableProposalForwarding ?? false,
    disableConfChangeValidation: config.disableConfChangeValidation ?? false,
    stepDownOnRemoval: config.stepDownOnRemoval ?? false,
  };
}
