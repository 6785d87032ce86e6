/** Pure: no clock, no I/O, no randomness. */

import { confChangeEntry } from "./confchange/conf-change.ts";
import { type Config, checkConfig } from "./config.ts";
import { ErrStepLocalMsg, ErrStepPeerNotFound, RaftError } from "./errors.ts";
import { panic } from "./logger.ts";
import { applyConfChange } from "./membership.ts";
import { checkMessage } from "./message-check.ts";
import { isLocalMessage, isResponseMessage } from "./message-kinds.ts";
import type { Raft } from "./raft.ts";
import { becomeFollower } from "./roles.ts";
import { newRaft } from "./start.ts";
import type { BasicStatus, Status } from "./status.ts";
import { step, tick, ticksToWork } from "./step.ts";
import { storageAppend, storageAppendResp, storageApply, storageApplyResp } from "./storage-messages.ts";
import { type Progress, ProgressState } from "./tracker/progress.ts";
import {
  type AnyConfChange,
  ConfChangeType,
  type ConfState,
  type Entry,
  EntryType,
  emptyHardState,
  type HardState,
  isEmptyHardState,
  isLocalMsgTarget,
  type Message,
  MessageType,
  None,
  newMessage,
  type Peer,
  type Ready,
  SnapshotStatus,
  type SoftState,
  StateType,
} from "./types.ts";
import { entriesSize } from "./wire.ts";

const rafts = new WeakMap<RawNode, Raft>();

/** The state behind a node: for tests only. */
export function raftOf(node: RawNode): Raft {
  return rafts.get(node)!;
}

/**
 * A raft node without threads, clock or I/O: the host ticks it, steps messages into it and handles its Ready.
 * @throws RaftError from the constructor when the config is refused.
 */
export class RawNode {
  readonly #raft: Raft;
  readonly #async: boolean;
  // What the last Ready said.
  #prevSoftState: SoftState;
  #prevHardState: HardState;
  /** Without async storage writes: messages to this node itself that `advance` delivers. */
  #stepsOnAdvance: Message[] = [];

  constructor(config: Config) {
    this.#raft = newRaft(config);
    this.#async = this.#raft.config.asyncStorageWrites;
    this.#prevSoftState = this.#raft.softState();
    this.#prevHardState = this.#raft.hardState();
    rafts.set(this, this.#raft);
  }

  /**
   * First start with an empty storage: one committed conf change per peer, in term 1. A storage that begins with a
   * snapshot holding the ConfState is the better way.
   * @throws RaftError if `peers` is empty or the storage is not.
   */
  bootstrap(peers: readonly Peer[]): void {
    const r = this.#raft;
    const last = r.log.storage.lastIndex();
    if (peers.length === 0) throw new RaftError("must provide at least one peer to bootstrap");
    if (last !== 0) throw new RaftError(`can't bootstrap a nonempty storage (last index ${last})`);
    // Nothing is persisted: let the first Ready say so.
    this.#prevHardState = emptyHardState;
    becomeFollower(r, 1, None);
    const changes = peers.map(({ id, context }) => ({
      type: ConfChangeType.ConfChangeAddNode,
      nodeId: id,
      context,
    }));
    r.log.append(changes.map((cc, i): Entry => ({ ...confChangeEntry(cc), term: 1, index: i + 1 })));
    r.log.committed = peers.length;
    // Applied here so that the node may campaign at once, and again by the host when it sees the entries.
    for (const cc of changes) applyConfChange(r, cc);
  }

  /** One tick of the logical clock. */
  tick(): void {
    tick(this.#raft);
  }

  /** Ticks until one does something (a heartbeat, a check of the quorum, an election); Infinity when none will. */
  ticksToWork(): number {
    return ticksToWork(this.#raft);
  }

  /** Start an election now. */
  campaign(): void {
    this.#step(newMessage({ type: MessageType.MsgHup }));
  }

  /**
   * Propose `data` for the log. Without an error it may still get lost: with a leader that falls, or on the way to it.
   * @throws ErrProposalDropped
   */
  propose(data: Uint8Array): void {
    const entry: Entry = { term: 0, index: 0, type: EntryType.EntryNormal, data };
    this.#step(newMessage({ type: MessageType.MsgProp, from: this.#raft.id, entries: [entry] }));
  }

  /**
   * Propose a change of the membership. One that cannot be taken now is committed as an empty normal entry.
   * @throws ErrProposalDropped
   */
  proposeConfChange(change: AnyConfChange): void {
    this.#step(newMessage({ type: MessageType.MsgProp, entries: [confChangeEntry(change)] }));
  }

  /**
   * To be called for every committed conf change, unless the host rejects it. Returns the membership to store in
   * snapshots.
   */
  applyConfChange(change: AnyConfChange): ConfState {
    return applyConfChange(this.#raft, change);
  }

  /** A message arrived. @throws ErrStepLocalMsg | ErrStepPeerNotFound | ErrProposalDropped | RaftError if malformed */
  step(m: Message): void {
    if (!isLocalMsgTarget(m.from)) {
      if (isLocalMessage(m.type)) throw ErrStepLocalMsg;
      if (isResponseMessage(m.type) && !this.#raft.tracker.progress.has(m.from)) throw ErrStepPeerNotFound;
    }
    const malformed = checkMessage(m);
    if (malformed !== undefined) throw malformed;
    this.#step(m);
  }

  /** The work at hand, which counts as accepted: see Ready for what to do with it. */
  ready(): Ready {
    const rd = this.#peekReady();
    this.#acceptReady(rd);
    return rd;
  }

  hasReady(): boolean {
    const r = this.#raft;
    if (r.msgs.length > 0 || r.msgsAfterAppend.length > 0 || r.readStates.length > 0) return true;
    const { unstable } = r.log;
    if (unstable.hasNextEntries() || unstable.nextSnapshot() !== undefined) return true;
    if (r.log.hasNextCommittedEnts(!this.#async)) return true;
    return this.#softStateChanged() || (this.#hardStateChanged() && !isEmptyHardState(r.hardState()));
  }

  /** The last Ready is handled. Not with asyncStorageWrites: there the storage responses take its place. */
  advance(): void {
    const r = this.#raft;
    if (this.#async) panic(r.logger, () => "Advance must not be called when using AsyncStorageWrites");
    const steps = this.#stepsOnAdvance;
    this.#stepsOnAdvance = [];
    for (const m of steps) step(r, m);
  }

  status(): Status {
    const r = this.#raft;
    const progress = new Map<bigint, Progress>();
    if (r.state === StateType.StateLeader) {
      for (const [id, pr] of r.tracker.ordered) progress.set(id, pr.clone(pr.inflights.clone()));
    }
    return { ...this.basicStatus(), config: r.tracker.config, progress };
  }

  basicStatus(): BasicStatus {
    const r = this.#raft;
    return {
      id: r.id,
      hardState: r.hardState(),
      softState: r.softState(),
      applied: r.log.applied,
      leadTransferee: r.leadTransferee,
    };
  }

  /** Hand leadership over (Raft thesis §3.10). It is tried for one election timeout. */
  transferLeader(transferee: bigint): void {
    step(this.#raft, newMessage({ type: MessageType.MsgTransferLeader, from: transferee }));
  }

  /** A follower forgets its leader, so that it grants (pre-)votes before its election timeout. */
  forgetLeader(): void {
    this.#step(newMessage({ type: MessageType.MsgForgetLeader }));
  }

  /**
   * Election timeout and heartbeat period from now on, in ticks; see Config.
   * @throws RaftError naming field, value and remedy.
   */
  setTicks(ticks: { readonly electionTick: number; readonly heartbeatTick: number }): void {
    this.#raft.config = checkConfig({ ...this.#raft.config, ...ticks });
    this.#raft.resetRandomizedElectionTimeout();
  }

  /** Ask for a ReadState; a Ready brings it with the same context. It may get lost: ask again after a while. */
  readIndex(context: Uint8Array): void {
    const entry: Entry = { term: 0, index: 0, type: EntryType.EntryNormal, data: context };
    step(this.#raft, newMessage({ type: MessageType.MsgReadIndex, entries: [entry] }));
  }

  /** The last message to `id` could not be sent. */
  reportUnreachable(id: bigint): void {
    step(this.#raft, newMessage({ type: MessageType.MsgUnreachable, from: id }));
  }

  /**
   * The connection to `id` broke: it may have ended, and come back with a shorter log than it acknowledged. Beyond
   * etcd-raft, whose members crash then ("tocommit is out of range").
   */
  reportLost(id: bigint): void {
    const r = this.#raft;
    if (r.state !== StateType.StateLeader || id === r.id) return;
    const progress = r.tracker.progress.get(id);
    if (progress && progress.state !== ProgressState.StateSnapshot) progress.forget();
  }

  /** How sending a MsgSnap to `id` ended. To be called for each, else replication to `id` may stall. */
  reportSnapshot(id: bigint, status: SnapshotStatus): void {
    const reject = status === SnapshotStatus.SnapshotFailure;
    step(this.#raft, newMessage({ type: MessageType.MsgSnapStatus, from: id, reject }));
  }

  #step(m: Message): void {
    const err = step(this.#raft, m);
    if (err !== undefined) throw err;
  }

  #softStateChanged(): boolean {
    const { lead, state } = this.#raft;
    return lead !== this.#prevSoftState.lead || state !== this.#prevSoftState.raftState;
  }

  #hardStateChanged(): boolean {
    const r = this.#raft;
    const prev = this.#prevHardState;
    return r.term !== prev.term || r.log.committed !== prev.commit || r.vote !== prev.vote;
  }

  #peekReady(): Ready {
    const r = this.#raft;
    const entries = r.log.unstable.nextEntries();
    const hardState = this.#hardStateChanged() ? r.hardState() : undefined;
    const snapshot = r.log.unstable.nextSnapshot();
    const committedEntries = r.log.nextCommittedEnts(!this.#async);
    const messages = r.msgs;
    if (this.#async) {
      const append = storageAppend(r, { entries, hardState, snapshot });
      if (append !== undefined) messages.push(append);
      if (committedEntries.length > 0) messages.push(storageApply(r, committedEntries));
    } else {
      // The host sends messages after it has written the entries, so these need no waiting.
      for (const m of r.msgsAfterAppend) if (m.to !== r.id) messages.push(m);
    }
    const prev = this.#prevHardState;
    return {
      softState: this.#softStateChanged() ? r.softState() : undefined,
      hardState,
      readStates: r.readStates,
      entries,
      snapshot,
      committedEntries,
      messages,
      mustSync: entries.length > 0 || r.vote !== prev.vote || r.term !== prev.term,
    };
  }

  #acceptReady(rd: Ready): void {
    const r = this.#raft;
    if (rd.softState !== undefined) this.#prevSoftState = rd.softState;
    if (rd.hardState !== undefined && !isEmptyHardState(rd.hardState)) this.#prevHardState = rd.hardState;
    if (rd.readStates.length > 0) r.readStates = [];
    if (!this.#async) {
      if (this.#stepsOnAdvance.length > 0) {
        panic(r.logger, () => "two accepted Ready structs without call to Advance");
      }
      for (const m of r.msgsAfterAppend) if (m.to === r.id) this.#stepsOnAdvance.push(m);
      const appended = storageAppendResp(r, rd);
      if (appended !== undefined) this.#stepsOnAdvance.push(appended);
      if (rd.committedEntries.length > 0) this.#stepsOnAdvance.push(storageApplyResp(r, rd.committedEntries));
    }
    r.msgs = [];
    r.msgsAfterAppend = [];
    r.log.unstable.acceptInProgress();
    const last = rd.committedEntries.at(-1);
    if (last !== undefined) r.log.acceptApplying(last.index, entriesSize(rd.committedEntries), !this.#async);
  }
}
