import type { ChannelCredentials } from "@grpc/grpc-js";
import {
  InternalRaftRequest,
  type Raft,
  RaftMemberStatus_Reachability,
  type RaftMembership,
  type RaftPeer,
  type StoreAction,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { assert, type Clock, type Logger, metrics, type Random, SwarmError } from "@starling/base";
import type { Proposer, StateMachine } from "@starling/store";
import {
  type ConfChange,
  ConfChangeType,
  type ConfState,
  decodeConfChange,
  type Entry,
  EntryType,
  ErrProposalDropped,
  emptyConfState,
  type Message,
  None,
  type Snapshot as RaftSnapshot,
  type SoftState,
  StateType,
  stateTypeName,
} from "raft-ts";
import { Driver, defaultTiming, type RaftTiming } from "./driver.ts";
import { MembershipChanges, membershipHandlers } from "./membership/handlers.ts";
import { checkHealth, joinCluster } from "./membership/join.ts";
import { type Member, Membership } from "./membership/membership.ts";
import { type OpenedLog, openLog } from "./open-log.ts";
import { Proposals, random64 } from "./proposals.ts";
import { ReadIndex } from "./read-index.ts";
import { type RaftKeys, SealerRing } from "./seal.ts";
import { decodeSnapshot, defaultSnapshotPolicy, type SnapshotPolicy, Snapshotter } from "./snapshotter.ts";
import { peerHandlers, type Receiver, raftHandlers } from "./transport/receiver.ts";
import { Transport } from "./transport/transport.ts";

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
  /** Goes on as the only member, from what is committed here. */
  readonly forceNewCluster?: boolean;
  /** Encryption of log and snapshots; without keys they are written in the clear. */
  readonly keys?: RaftKeys;
  readonly timing?: Partial<RaftTiming>;
  readonly snapshots?: Partial<SnapshotPolicy>;
  readonly segmentBytes?: number;
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
  readonly leader: boolean;
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

const configChangeTimeoutMs = 10_000;
const transferTimeoutMs = 1_000;
/** A write that takes longer makes a leader hand over. */
const slowWriteMs = 1_000;
const leaderGauge = metrics.gauge("swarm_raft_is_leader", "1 while this node is the raft leader.");
const termGauge = metrics.gauge("swarm_raft_term", "Raft term.");
const commitGauge = metrics.gauge("swarm_raft_commit_index", "Index of the last committed raft entry known here.");
const appliedGauge = metrics.gauge("swarm_raft_applied_index", "Index of the last raft entry applied here.");
const inflightGauge = metrics.gauge("swarm_raft_proposals_in_flight", "Proposals of this leader not yet applied.");
const leaderChanges = metrics.counter("swarm_raft_leader_changes_total", "Changes of the raft leader seen here.");

/** One member of the managers' raft group: log on disk, streams to the peers, and the store's Proposer. */
export class RaftNode implements Proposer {
  readonly handlers: RaftHandlers;
  readonly #options: RaftNodeOptions;
  readonly #membership = new Membership();
  readonly #changes: MembershipChanges;
  readonly #proposals: Proposals;
  readonly #readIndex: ReadIndex;
  readonly #stopping = new AbortController();
  /** Open streams by the peer that sends. */
  readonly #streams = new Map<bigint, number>();
  readonly #configWaits = new Map<bigint, PromiseWithResolvers<void>>();
  #opened: OpenedLog | undefined;
  #driver: Driver | undefined;
  #transport: Transport | undefined;
  #snapshotter: Snapshotter | undefined;
  #confState: ConfState = emptyConfState;
  #applied = 0;
  #appliedTerm = 0;
  #soft: SoftState = { lead: None, raftState: StateType.StateFollower };
  /** Term in which this node leads; undefined when it does not. */
  #leaderTerm: number | undefined;
  /** Leadership is signalled: proposals are taken. */
  #leading = false;
  #diskFull: string | undefined;
  #removed = false;
  #stopped: Promise<void> | undefined;

  constructor(options: RaftNodeOptions) {
    this.#options = options;
    const { clock, random } = options;
    this.#proposals = new Proposals(clock, random);
    this.#readIndex = new ReadIndex({
      clock,
      random,
      ask: (context) => {
        this.#running().raw.readIndex(context);
        this.#driver?.schedule();
      },
    });
    this.#changes = new MembershipChanges({
      membership: this.#membership,
      mustLead: () => this.#mustLead(),
      reachable: (raftId) => this.#reachable(raftId),
      checkHealth: (addr) => checkHealth(addr, options.transportCredentials()),
      changeConfig: (change) => this.#changeConfig(change),
    });
    const receiver = this.#receiver();
    this.handlers = {
      raft: raftHandlers(receiver),
      peer: peerHandlers(receiver),
      membership: membershipHandlers(this.#changes, this.#membership),
    };
  }

  /** Makes and starts a node: see `start`. */
  static async open(options: RaftNodeOptions): Promise<RaftNode> {
    const node = new RaftNode(options);
    await node.start();
    return node;
  }

  /**
   * Opens the log (or joins, or makes a cluster), restores the state machine and takes part in raft. Before a join the
   * server must answer Health "Raft" and serve `handlers`. Rejects DataLoss for a damaged log, ResourceExhausted for a
   * full disk, FailedPrecondition for a newer format or a missing key, and with the leader's refusal of a join.
   */
  async start(): Promise<void> {
    const { join, transportCredentials, addr, clock, random, log, timing, keys, ...rest } = this.#options;
    const opened = await openLog({
      ...rest,
      addr,
      clock,
      log,
      sealers: new SealerRing(keys),
      join: join && (() => joinCluster({ ...join, addr, credentials: transportCredentials() })),
      onDiskFull: (state) => {
        this.#diskFull = state;
      },
    });
    this.#opened = opened;
    this.#transport = new Transport({
      ownId: opened.raftId,
      credentials: transportCredentials,
      clock,
      log,
      events: {
        unreachable: (raftId) => this.#report((driver) => driver.raw.reportUnreachable(raftId)),
        snapshotSent: (raftId, status) => this.#report((driver) => driver.raw.reportSnapshot(raftId, status)),
        removed: () => this.#selfRemoved(),
        loadSnapshot: async (index) => (await opened.snapshots.load(index)).data,
      },
    });
    this.#snapshotter = new Snapshotter({
      ...opened,
      policy: { ...defaultSnapshotPolicy, ...this.#options.snapshots },
      log,
      lastIndex: opened.snapshot?.metadata.index ?? 0,
    });
    for (const peer of opened.peers) this.#transport.setPeer(peer.raftId, peer.addr);
    if (opened.snapshot) this.#restore({ ...opened.snapshot });
    this.#driver = new Driver({
      opened,
      timing: { ...defaultTiming, ...timing },
      clock,
      random,
      log,
      events: this.#events(),
    });
    this.#driver.start();
    this.#maybeCampaignAlone();
    const raftId = opened.raftId.toString(16);
    log.info("raft started", { "raft.id": raftId, applied: this.#applied, lastIndex: opened.storage.lastIndex() });
  }

  /** 0 until started. */
  get raftId(): bigint {
    return this.#opened?.raftId ?? None;
  }

  get committedIndex(): number {
    return this.#driver?.raw.basicStatus().hardState.commit ?? 0;
  }

  get isLeader(): boolean {
    return this.#leading;
  }

  /** See Proposer. Group commit: what is proposed in one turn of the event loop or during one write is written together. */
  propose(actions: readonly StoreAction[], apply: (index: number) => void): Promise<void> {
    try {
      this.#mustLead();
      if (this.#diskFull !== undefined) throw new SwarmError("Unavailable", `${this.#diskFull}: free some space`);
    } catch (thrown) {
      return Promise.reject(thrown);
    }
    const driver = this.#running();
    return this.#proposals.propose(actions, apply, (data) => {
      try {
        driver.raw.propose(data);
      } catch (thrown) {
        if (thrown !== ErrProposalDropped) throw thrown;
        throw new SwarmError("Unavailable", "raft does not take proposals now (leadership moves): try again");
      }
      driver.schedule();
    });
  }

  /** A message of a peer. */
  step(message: Message): void {
    this.#driver?.step(message);
  }

  /** Resolves with an applied index that covers all that was acknowledged before the call; on any member. */
  readIndex(): Promise<number> {
    return this.#readIndex.read(() => this.#applied, this.#stopping.signal);
  }

  /** Address of the leader's remote API; undefined while none is known. */
  leaderAddress(): string | undefined {
    return this.#membership.get(this.#soft.lead)?.addr;
  }

  /** Every member as seen from here: only the leader's view of who is reachable is complete. */
  members(): MemberStatus[] {
    const { REACHABLE, UNREACHABLE } = RaftMemberStatus_Reachability;
    return this.#membership.list().map((member) => ({
      ...member,
      leader: member.raftId === this.#soft.lead,
      reachability: this.#reachable(member.raftId) ? REACHABLE : UNREACHABLE,
    }));
  }

  status(): RaftStatus {
    const { raw } = this.#running();
    const { hardState, softState } = raw.basicStatus();
    const { storage } = this.#opened!;
    return {
      raftId: this.raftId,
      leaderId: softState.lead,
      isLeader: this.#leading,
      state: stateTypeName(softState.raftState),
      term: hardState.term,
      commitIndex: hardState.commit,
      appliedIndex: this.#applied,
      firstIndex: storage.firstIndex(),
      lastIndex: storage.lastIndex(),
      diskFull: this.#diskFull,
    };
  }

  /** Leader only: removes a member for ever. Rejects FailedPrecondition when the rest would lose its quorum. */
  removeMember(raftId: bigint): Promise<void> {
    return this.#changes.remove(raftId);
  }

  /** Hands leadership to the reachable peer that is furthest on. Resolves when another leads, rejects after a second. */
  async transferLeadership(timeoutMs: number = transferTimeoutMs): Promise<void> {
    const { clock } = this.#options;
    const driver = this.#running();
    this.#mustLead();
    const heir = this.#heir();
    if (heir === undefined) throw new SwarmError("FailedPrecondition", "no other member is reachable to lead");
    driver.raw.transferLeader(heir);
    driver.schedule();
    for (const deadline = clock.monotonic() + timeoutMs; clock.monotonic() < deadline; ) {
      await clock.sleep(5);
      if (this.#soft.lead !== this.raftId && this.#soft.lead !== None) return;
    }
    throw new SwarmError("DeadlineExceeded", `raft member ${heir.toString(16)} did not take over in ${timeoutMs} ms`);
  }

  /** Hands leadership over (a second at most), ends streams and closes the log. What is in flight ends as unknown. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop({ transfer: true });
    return this.#stopped;
  }

  /** Ends at once, without handing over: what a power cut leaves. For tests. */
  kill(): Promise<void> {
    this.#stopped ??= this.#stop({ transfer: false });
    return this.#stopped;
  }

  async #stop({ transfer }: { readonly transfer: boolean }): Promise<void> {
    if (transfer && this.#leading && this.#membership.list().length > 1) {
      await this.transferLeadership().catch((error: unknown) => {
        this.#options.log.warn("raft: leadership not handed over before the stop", { error });
      });
    }
    const reason = new SwarmError("Unavailable", "this manager stops: outcome unknown");
    this.#stopping.abort(reason);
    this.#opened?.wal.interrupt();
    await this.#driver?.stop();
    this.#loseLeadership(reason);
    this.#readIndex.abandon(reason);
    await this.#transport?.stop(transfer ? 100 : 0);
    await this.#snapshotter?.settled();
    await this.#opened?.wal.close();
  }

  #fatal(thrown: unknown): void {
    if (this.#stopped) return;
    const error = SwarmError.from(thrown);
    this.#options.log.error("raft node stops", { error });
    this.#stopped = this.#stop({ transfer: false }).finally(() => this.#options.onFatal(error));
  }

  #running(): Driver {
    if (this.#driver === undefined) throw new SwarmError("Unavailable", "raft is not running here yet");
    if (this.#stopping.signal.aborted) throw this.#stopping.signal.reason;
    return this.#driver;
  }

  #mustLead(): void {
    this.#running();
    if (this.#leading) return;
    const leader = this.leaderAddress();
    const text = leader === undefined ? "no elected cluster leader" : `the leader is at ${leader}`;
    throw new SwarmError("Unavailable", `this manager is not the raft leader: ${text}`);
  }

  #reachable(raftId: bigint): boolean {
    return raftId === this.raftId || this.#transport?.activeSince(raftId) !== undefined;
  }

  /** The reachable voter whose log is longest. */
  #heir(): bigint | undefined {
    const { progress } = this.#running().raw.status();
    const candidates = [...progress].filter(([id, pr]) => id !== this.raftId && !pr.isLearner && this.#reachable(id));
    return candidates.sort(([, a], [, b]) => b.match - a.match)[0]?.[0];
  }

  #report(report: (driver: Driver) => void): void {
    if (this.#driver === undefined || this.#stopping.signal.aborted) return;
    report(this.#driver);
    this.#driver.schedule();
  }

  async #changeConfig(change: ConfChange): Promise<void> {
    const driver = this.#running();
    const id = random64(this.#options.random);
    const done = Promise.withResolvers<void>();
    this.#configWaits.set(id, done);
    const timer = this.#options.clock.setTimer(configChangeTimeoutMs, () => {
      done.reject(new SwarmError("Unavailable", "membership change was not committed in time: outcome unknown"));
    });
    try {
      driver.raw.proposeConfChange({ ...change, id });
      driver.schedule();
      await done.promise;
    } catch (thrown) {
      if (thrown !== ErrProposalDropped) throw thrown;
      throw new SwarmError("Unavailable", "raft does not take membership changes now: try again");
    } finally {
      timer.cancel();
      this.#configWaits.delete(id);
    }
  }

  #receiver(): Receiver {
    const node = this;
    return {
      get raftId() {
        return node.#driver === undefined ? None : node.raftId;
      },
      stopping: this.#stopping.signal,
      isMember: (raftId) => this.#membership.get(raftId) !== undefined,
      isRemoved: (raftId) => this.#membership.isRemoved(raftId),
      addressOf: (raftId) => this.#membership.get(raftId)?.addr,
      step: (message) => this.step(message),
      streamOpened: (from) => {
        this.#streams.set(from, (this.#streams.get(from) ?? 0) + 1);
        this.#transport?.nudge(from);
      },
      streamEnded: (from) => {
        const left = (this.#streams.get(from) ?? 1) - 1;
        this.#streams.set(from, left);
        if (left === 0) this.#streamsEnded(from);
      },
    };
  }

  /**
   * The leader's last stream broke: do not wait for the election timeout. Every follower forgets the leader, so that it grants
   * a pre-vote; they ask one after the other, by raft id, to not split the vote. A leader that only reconnects is
   * followed again with its next heartbeat, and its term stays: a pre-vote disturbs nobody.
   */
  #streamsEnded(from: bigint): void {
    if (this.#stopping.signal.aborted || from !== this.#soft.lead || this.#leaderTerm !== undefined) return;
    const { clock, random } = this.#options;
    const others = this.#membership.list().map(({ raftId }) => raftId);
    const rank = others.filter((raftId) => raftId !== from && raftId < this.raftId).length;
    this.#report((driver) => driver.raw.forgetLeader());
    clock.setTimer(rank * 100 + random() * 40, () => {
      if (this.#soft.lead === None) this.#campaignNow();
    });
  }

  /** The only member need not wait for anybody. */
  #maybeCampaignAlone(): void {
    const [first, second] = this.#membership.list();
    if (first?.raftId !== this.raftId || second !== undefined || this.#soft.lead !== None) return;
    if (this.#soft.raftState === StateType.StateFollower) this.#campaignNow();
  }

  #campaignNow(): void {
    this.#report((driver) => driver.raw.campaign());
  }

  #events() {
    return {
      softState: (state: SoftState) => this.#onSoftState(state),
      term: (term: number) => {
        // Lost and won again between two looks.
        if (
          this.#leaderTerm !== undefined &&
          this.#leaderTerm !== term &&
          this.#soft.raftState === StateType.StateLeader
        ) {
          this.#loseLeadership(lostLeadership());
          this.#leaderTerm = term;
        }
      },
      readState: (state: Parameters<ReadIndex["answer"]>[0]) => this.#readIndex.answer(state),
      send: (message: Message) => this.#transport!.send(message),
      apply: (entry: Entry) => this.#apply(entry),
      applyIdle: () => this.#onApplied(),
      install: (snapshot: RaftSnapshot) => this.#install(snapshot),
      tick: () => this.#onTick(),
      fatal: (error: unknown) => this.#fatal(error),
    };
  }

  #onSoftState(state: SoftState): void {
    const { log, onMembers } = this.#options;
    const leads = state.raftState === StateType.StateLeader;
    if (state.lead !== this.#soft.lead) {
      leaderChanges.inc();
      log.info("raft leader changed", { leader: state.lead.toString(16), state: stateTypeName(state.raftState) });
    }
    const changed = state.lead !== this.#soft.lead;
    this.#soft = state;
    if (!leads) this.#loseLeadership(lostLeadership());
    this.#leaderTerm = leads ? this.#driver!.raw.basicStatus().hardState.term : undefined;
    if (changed) onMembers?.();
  }

  #loseLeadership(reason: SwarmError): void {
    const was = this.#leading;
    this.#leaderTerm = undefined;
    this.#leading = false;
    for (const { reject } of this.#configWaits.values()) reject(reason);
    if (!was) return;
    leaderGauge.set(0);
    // First the store falls back to what is committed: what of the abandoned is committed later comes as entries of others.
    this.#options.stateMachine.abandonInFlight(reason);
    this.#proposals.abandon(reason);
    this.#options.onLeadership?.(false);
  }

  #apply(entry: Entry): void {
    const { index, term } = entry;
    assert(index === this.#applied + 1, () => `raft applies entry ${index} after ${this.#applied}`);
    this.#applied = index;
    this.#appliedTerm = term;
    try {
      if (entry.type !== EntryType.EntryNormal) this.#applyConfChange(entry);
      else if (entry.data.length > 0 && !this.#proposals.maybeApply(entry.data, index)) {
        this.#options.stateMachine.applyActions(InternalRaftRequest.decode(entry.data).action, index);
      }
    } catch (cause) {
      const text = `raft entry ${index} of term ${term} cannot be applied: ${(cause as Error).message}`;
      throw new SwarmError("Internal", text, { cause });
    }
    this.#readIndex.appliedTo(index);
  }

  #applyConfChange(entry: Entry): void {
    const { log } = this.#options;
    if (entry.type === EntryType.EntryConfChangeV2) throw new Error("a ConfChangeV2 is never proposed here");
    const change = decodeConfChange(entry.data);
    const result = this.#membership.apply(change);
    const waiting = change.id === undefined ? undefined : this.#configWaits.get(change.id);
    if (result.t === "refused") {
      log.warn("raft membership change refused", { index: entry.index, explain: result.explain });
      waiting?.reject(new SwarmError("FailedPrecondition", result.explain));
      return;
    }
    const { raftId, nodeId, addr } = result.member;
    this.#confState = this.#driver!.raw.applyConfChange(change);
    log.info(`raft member ${result.t}`, { "raft.peer": raftId.toString(16), "node.id": nodeId, addr });
    if (result.t === "removed") this.#transport!.removePeer(raftId);
    else this.#transport!.setPeer(raftId, addr);
    // Who may vote must be known after a restart without asking anybody.
    this.#driver!.append.flush();
    this.#driver!.schedule();
    waiting?.resolve();
    this.#options.onMembers?.();
    if (change.type === ConfChangeType.ConfChangeRemoveNode && raftId === this.raftId) this.#selfRemoved();
  }

  /** The apply queue is empty for now. */
  #onApplied(): void {
    appliedGauge.set(this.#applied);
    this.#maybeCampaignAlone();
    if (this.#leaderTerm !== undefined && !this.#leading && this.#appliedTerm === this.#leaderTerm) {
      this.#leading = true;
      leaderGauge.set(1);
      this.#options.log.info("raft leadership taken", { term: this.#leaderTerm, applied: this.#applied });
      this.#options.onLeadership?.(true);
    }
    this.#snapshotter!.maybeSnapshot(this.#applied, () => ({
      metadata: { confState: this.#confState, index: this.#applied, term: this.#appliedTerm },
      membership: this.#membership.snapshot(),
      store: this.#options.stateMachine.snapshot(),
    }));
  }

  #install(snapshot: RaftSnapshot): void {
    this.#options.log.info("raft snapshot installed", { index: snapshot.metadata.index, bytes: snapshot.data.length });
    this.#restore(snapshot);
    this.#snapshotter!.installed(snapshot.metadata.index);
    void this.#opened!.snapshots.prune();
    this.#options.onMembers?.();
  }

  /** Takes over a snapshot's state. */
  #restore({ metadata, data }: Pick<RaftSnapshot, "metadata" | "data">): void {
    const { membership, store } = decodeSnapshot(data);
    this.#options.stateMachine.restore(store);
    this.#membership.restore(membership);
    this.#confState = metadata.confState;
    this.#applied = metadata.index;
    this.#appliedTerm = metadata.term;
    for (const { raftId, addr } of this.#membership.list()) this.#transport!.setPeer(raftId, addr);
    this.#transport!.retain((raftId) => this.#membership.get(raftId) !== undefined);
    this.#readIndex.appliedTo(metadata.index);
  }

  #onTick(): void {
    const { raw, append } = this.#driver!;
    const { hardState, leadTransferee } = raw.basicStatus();
    termGauge.set(hardState.term);
    commitGauge.set(hardState.commit);
    inflightGauge.set(this.#proposals.count);
    if (!this.#leading || append.busyMs < slowWriteMs || leadTransferee !== None) return;
    const heir = this.#heir();
    if (heir === undefined) return;
    this.#options.log.warn("raft: the log's disk stalls, handing leadership over", { ms: Math.round(append.busyMs) });
    raw.transferLeader(heir);
  }

  #selfRemoved(): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#options.log.warn("raft: this member was removed from the group", { "raft.id": this.raftId.toString(16) });
    this.#options.onRemoved?.();
  }
}

function lostLeadership(): SwarmError {
  return new SwarmError("Unavailable", "raft leadership is lost: outcome unknown");
}
