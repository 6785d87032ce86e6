import { RaftMemberStatus_Reachability, type StoreAction } from "@starling/api";
import { SwarmError } from "@starling/base";
import type { Proposer } from "@starling/store";
import {
  type ConfChange,
  ConfChangeType,
  ErrProposalDropped,
  type Message,
  MessageType,
  None,
  StateType,
  stateTypeName,
} from "raft-ts";
import { ConfigChanges } from "./config-changes.ts";
import { Driver, type DriverEvents, defaultTiming, type RaftTicks } from "./driver.ts";
import { Handover } from "./handover.ts";
import { machineHost, type PeerTransport, type RaftHost } from "./host.ts";
import { LeaderLoss } from "./leader-loss.ts";
import { Leadership } from "./leadership.ts";
import { MembershipChanges, membershipHandlers } from "./membership/handlers.ts";
import type { MembershipChange } from "./membership/membership.ts";
import { LearnerPromotion } from "./membership/promotion.ts";
import { pauses } from "./next-turn.ts";
import { type OpenedLog, openLog, randomRaftId } from "./open-log.ts";
import type { MemberStatus, RaftHandlers, RaftNodeOptions, RaftStatus } from "./options.ts";
import { Proposals } from "./proposals.ts";
import { appliedGauge, commitGauge, diskFullGauge, inflightGauge, peersGauge, termGauge } from "./raft-metrics.ts";
import { ReadIndex } from "./read-index.ts";
import { Replica } from "./replica.ts";
import { SealerRing } from "./seal.ts";
import type { LoadedSnapshot } from "./snapshot-store/snapshot-store.ts";
import { defaultSnapshotPolicy, type SnapshotPolicy, Snapshotter } from "./snapshotter.ts";
import { peerHandlers, type Receiver, raftHandlers } from "./transport/receiver.ts";

const transferTimeoutMs = 1_000;

/** What exists once the log is open. */
interface Parts {
  readonly opened: OpenedLog;
  readonly transport: PeerTransport;
  readonly snapshotter: Snapshotter;
  readonly driver: Driver;
}

/** One member of the managers' raft group: log on disk, streams to the peers, and the store's Proposer. */
export class RaftNode implements Proposer {
  readonly handlers: RaftHandlers;
  readonly #options: RaftNodeOptions;
  readonly #host: RaftHost;
  readonly #replica: Replica;
  readonly #leadership: Leadership;
  readonly #leaderLoss: LeaderLoss;
  readonly #changes: MembershipChanges;
  readonly #promotion: LearnerPromotion;
  readonly #handover: Handover;
  readonly #configChanges: ConfigChanges;
  readonly #proposals: Proposals;
  readonly #readIndex: ReadIndex;
  readonly #stopping = new AbortController();
  #parts: Parts | undefined;
  #diskFull: string | undefined;
  #sealers: SealerRing | undefined;
  #removed = false;
  #stopped: Promise<void> | undefined;

  constructor(options: RaftNodeOptions) {
    this.#options = options;
    const { clock, random, log, stateMachine } = options;
    this.#host = options.host ?? machineHost(options.transportCredentials);
    this.#proposals = new Proposals(clock, random);
    this.#configChanges = new ConfigChanges(clock, random);
    this.#replica = new Replica({
      stateMachine,
      proposals: this.#proposals,
      log,
      configure: (change) => this.#parts!.driver.raw.applyConfChange(change),
      membershipChanged: (change, result) => this.#onMembershipChange(change, result),
    });
    this.#leadership = new Leadership({
      log,
      gained: () => options.onLeadership?.(true),
      lost: (reason) => this.#onLeadershipLost(reason),
      leaderChanged: () => {
        if (this.#leadership.leaderId !== None) this.#readIndex.repeat();
        options.onMembers?.();
      },
    });
    this.#readIndex = new ReadIndex({
      clock,
      random,
      nextTurn: this.#host.nextTurn,
      applied: () => this.#replica.applied,
      ask: (context) => {
        this.#running();
        this.#drive((driver) => driver.raw.readIndex(context));
      },
    });
    this.#leaderLoss = new LeaderLoss({
      clock,
      random,
      self: () => this.raftId,
      members: () => this.#membership.list().map(({ raftId }) => raftId),
      leader: () => this.#leadership.leaderId,
      forgetLeader: () => this.#drive((driver) => driver.raw.forgetLeader()),
      campaign: () => this.#drive((driver) => driver.raw.campaign()),
    });
    this.#changes = new MembershipChanges({
      membership: this.#membership,
      voters: () => this.#membership.list().filter(({ raftId }) => this.#replica.confState.voters.includes(raftId)),
      mustLead: () => this.#mustLead(),
      reachable: (raftId) => this.#reachable(raftId),
      newRaftId: () => randomRaftId(random),
      checkHealth: (addr) => this.#host.network.checkHealth(addr),
      changeConfig: (change) =>
        this.#configChanges.propose(change, (identified) => {
          const { driver } = this.#running();
          driver.raw.proposeConfChange(identified);
          driver.schedule();
        }),
    });
    const reachable = (raftId: bigint) => this.#reachable(raftId);
    this.#promotion = new LearnerPromotion({
      log,
      reachable,
      changes: this.#changes,
      leading: () => this.isLeader,
      confState: () => this.#replica.confState,
    });
    this.#handover = new Handover({
      clock,
      log,
      reachable,
      leadership: this.#leadership,
      self: () => this.raftId,
      driver: () => this.#running().driver,
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
    const { join, addr, clock, random, log, timing, keys, ...rest } = this.#options;
    const { files, network, nextTurn } = this.#host;
    const sealers = new SealerRing(keys);
    this.#sealers = sealers;
    const opened = await openLog({
      ...rest,
      files,
      nextTurn,
      addr,
      clock,
      random,
      log,
      sealers,
      join: join && (() => network.join({ ...join, addr })),
      onDiskFull: (state) => {
        this.#diskFull = state;
        diskFullGauge.set(state === undefined ? 0 : 1);
      },
    });
    const transport = network.connect({
      ownId: opened.raftId,
      ownAddr: addr,
      clock,
      log,
      events: {
        unreachable: (raftId) => this.#drive((driver) => driver.raw.reportLost(raftId)),
        snapshotSent: (raftId, status) => this.#drive((driver) => driver.raw.reportSnapshot(raftId, status)),
        removed: () => this.#selfRemoved(),
        loadSnapshot: async (index) => (await opened.snapshots.load(index)).chunks,
      },
    });
    const snapshotter = new Snapshotter({
      ...opened,
      nextTurn,
      clock,
      policy: { ...defaultSnapshotPolicy, ...this.#options.snapshots },
      log,
      lastIndex: opened.snapshot?.metadata.index ?? 0,
      done: () => this.#maybeSnapshot(),
      rekeyDue: sealers.rotating || opened.wal.hasOlderKeys || (await opened.snapshots.hasOlderKeys()),
      rekeying: {
        dropOlderKeys: (mark) => this.#parts!.driver.append.dropOlderKeys(mark),
        done: () => {
          sealers.retireOlder();
          this.#options.onKeysRetired?.();
        },
      },
    });
    for (const peer of opened.peers) transport.setPeer(peer.raftId, peer.addr);
    if (opened.snapshot) await this.#restore(opened.snapshot, transport);
    snapshotter.trimOld();
    const events = this.#events(transport);
    const timings = { ...defaultTiming, ...timing };
    const driver = new Driver({ opened, timing: timings, clock, random, log, host: this.#host, events });
    this.#parts = { opened, transport, snapshotter, driver };
    driver.start();
    this.#maybeCampaignAlone();
    const raftId = opened.raftId.toString(16);
    log.info("raft started", { "raft.id": raftId, applied: this.#replica.applied, last: opened.storage.lastIndex() });
  }

  /** 0 until started. */
  get raftId(): bigint {
    return this.#parts?.opened.raftId ?? None;
  }

  get committedIndex(): number {
    return this.#parts?.driver.raw.basicStatus().hardState.commit ?? 0;
  }

  /** As signalled by onLeadership. */
  get isLeader(): boolean {
    return this.#leadership.leading;
  }

  /** See Proposer. Group commit: what is proposed in one turn of the event loop or during one write is written together. */
  propose(actions: readonly StoreAction[], apply: (index: number) => void): Promise<void> {
    try {
      const { driver } = this.#mustLead();
      if (this.#diskFull !== undefined) throw new SwarmError("Unavailable", `${this.#diskFull}: free some space`);
      return this.#proposals.propose(actions, apply, (data, refused) => driver.propose(data, refused));
    } catch (thrown) {
      return Promise.reject(thrown);
    }
  }

  /** A message of a peer. */
  step(message: Message): void {
    this.#parts?.driver.step(message);
    if (message.type === MessageType.MsgAppResp) this.#promoteLearners();
  }

  /**
   * For linearizable reads, on any member: resolves with an index, applied here, that covers everything acknowledged before
   * the call; what the state machine says then is at least as new. Costs a round of heartbeats to a quorum, which all calls
   * share that come during the round before it; nothing with a single voter. There is no cheaper lease: early elections
   * (`LeaderLoss`) and transfers do not wait for one to end. Rejects Unavailable without a leader for 5 s, and on a stop.
   */
  readIndex(): Promise<number> {
    try {
      this.#running();
    } catch (thrown) {
      return Promise.reject(thrown);
    }
    return this.#readIndex.read();
  }

  /** Address of the leader's remote API; undefined while none is known. */
  leaderAddress(): string | undefined {
    return this.#membership.get(this.#leadership.leaderId)?.addr;
  }

  /** Every member as seen from here. */
  members(): MemberStatus[] {
    const { REACHABLE, UNKNOWN, UNREACHABLE } = RaftMemberStatus_Reachability;
    return this.#membership.list().map((member) => {
      const voter = this.#replica.confState.voters.includes(member.raftId);
      const answers = voter ? REACHABLE : UNKNOWN;
      return {
        ...member,
        voter,
        leader: member.raftId === this.#leadership.leaderId,
        reachability: this.#reachable(member.raftId) ? answers : UNREACHABLE,
      };
    });
  }

  /** Would the voters that are left without this member still have a quorum that can be reached? */
  canRemoveMember(raftId: bigint): boolean {
    return this.#changes.keepsQuorumWithout(raftId);
  }

  /** Throws Unavailable before the start and after the stop. */
  status(): RaftStatus {
    const { driver, opened } = this.#running();
    const { hardState, softState } = driver.raw.basicStatus();
    return {
      raftId: this.raftId,
      leaderId: softState.lead,
      isLeader: this.#leadership.leading,
      state: stateTypeName(softState.raftState),
      term: hardState.term,
      commitIndex: hardState.commit,
      appliedIndex: this.#replica.applied,
      firstIndex: opened.storage.firstIndex(),
      lastIndex: opened.storage.lastIndex(),
      diskFull: this.#diskFull,
    };
  }

  /** Takes over what the cluster's spec says about raft. Throws InvalidArgument for ticks that make no sense: none is set. */
  configure(settings: { readonly snapshots?: Partial<SnapshotPolicy>; readonly ticks?: RaftTicks }): void {
    const { snapshotter, driver } = this.#running();
    if (settings.ticks) driver.setTicks(settings.ticks);
    if (settings.snapshots) snapshotter.setPolicy(settings.snapshots);
  }

  /**
   * Seals everything from now on with `key` (32 bytes). What older keys sealed is replaced by a snapshot in the background;
   * `onKeysRetired` tells when, until then a start needs them among `keys.older`.
   */
  rotateKey(key: Uint8Array): void {
    const { snapshotter } = this.#running();
    this.#sealers!.rotate(key);
    snapshotter.rekey();
    this.#maybeSnapshot();
  }

  /** Leader only: removes a member for ever. Rejects FailedPrecondition when the rest would lose its quorum. */
  removeMember(raftId: bigint): Promise<void> {
    return this.#changes.remove(raftId);
  }

  /** Hands leadership to the reachable peer that is furthest on. Resolves when another leads, rejects after `timeoutMs`. */
  async transferLeadership(timeoutMs: number = transferTimeoutMs): Promise<void> {
    this.#mustLead();
    await this.#handover.transfer(timeoutMs);
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
    if (transfer && this.isLeader && this.#membership.list().length > 1) {
      await this.transferLeadership().catch((error: unknown) => {
        this.#options.log.warn("raft: leadership not handed over before the stop", { error });
      });
    }
    const reason = new SwarmError("Unavailable", "this manager stops: outcome unknown");
    this.#stopping.abort(reason);
    this.#parts?.opened.wal.interrupt();
    await this.#parts?.driver.stop();
    this.#leadership.lose(reason);
    this.#configChanges.abandon(reason);
    this.#readIndex.abandon(reason);
    await this.#parts?.transport.stop(transfer ? 100 : 0);
    await this.#parts?.snapshotter.settled();
    await this.#parts?.opened.wal.close();
  }

  #fatal(thrown: unknown): void {
    if (this.#stopped) return;
    const error = SwarmError.from(thrown);
    this.#options.log.error("raft node stops", { error });
    this.#stopped = this.#stop({ transfer: false }).finally(() => this.#options.onFatal(error));
  }

  get #membership() {
    return this.#replica.membership;
  }

  #running(): Parts {
    if (this.#parts === undefined) throw new SwarmError("Unavailable", "raft is not running here yet");
    if (this.#stopping.signal.aborted) throw this.#stopping.signal.reason;
    return this.#parts;
  }

  #mustLead(): Parts {
    const parts = this.#running();
    if (this.isLeader) return parts;
    const leader = this.leaderAddress();
    const text = leader === undefined ? "no elected cluster leader" : `the leader is at ${leader}`;
    throw new SwarmError("Unavailable", `this manager is not the raft leader: ${text}`);
  }

  #reachable(raftId: bigint): boolean {
    return raftId === this.raftId || this.#parts?.transport.activeSince(raftId) !== undefined;
  }

  /** Tells raft something, if it runs, and lets it work. What raft drops here asks for nothing more. */
  #drive(tell: (driver: Driver) => void): void {
    if (this.#parts === undefined || this.#stopping.signal.aborted) return;
    const { driver } = this.#parts;
    try {
      tell(driver);
    } catch (thrown) {
      if (thrown !== ErrProposalDropped) this.#fatal(thrown);
    }
    driver.schedule();
  }

  /** The only member need not wait for anybody. */
  #maybeCampaignAlone(): void {
    const [first, second] = this.#membership.list();
    if (first?.raftId !== this.raftId || second !== undefined || this.#leadership.leaderId !== None) return;
    if (this.#leadership.state === StateType.StateFollower) this.#drive((driver) => driver.raw.campaign());
  }

  #receiver(): Receiver {
    const node = this;
    return {
      get raftId() {
        return node.raftId;
      },
      stopping: this.#stopping.signal,
      isRemoved: (raftId) => this.#membership.isRemoved(raftId),
      addressOf: (raftId) => this.#membership.get(raftId)?.addr,
      step: (message) => this.step(message),
      streamOpened: (from, addr) => {
        this.#leaderLoss.streamOpened(from);
        // A member that came while this one was behind: it may need this one's vote.
        if (addr !== "" && this.#membership.get(from) === undefined) this.#parts?.transport.setPeer(from, addr);
        this.#parts?.transport.nudge(from);
      },
      streamEnded: (from) => this.#leaderLoss.streamEnded(from),
    };
  }

  #events(transport: PeerTransport): DriverEvents {
    return {
      softState: (state) => this.#leadership.onSoftState(state, this.#parts!.driver.raw.basicStatus().hardState.term),
      term: (term) => this.#leadership.onTerm(term),
      readState: (state) => this.#readIndex.answer(state),
      send: (message) => transport.send(message),
      apply: (entry) => {
        this.#replica.apply(entry);
        this.#parts!.snapshotter.applied(entry.data.length);
        this.#readIndex.appliedTo(entry.index);
      },
      applyIdle: () => {
        appliedGauge.set(this.#replica.applied);
        this.#maybeCampaignAlone();
        this.#leadership.onApplied(this.#replica.appliedTerm);
        this.#maybeSnapshot();
      },
      install: (snapshot) => this.#install(snapshot),
      tick: () => this.#onTick(),
      fatal: (error) => this.#fatal(error),
    };
  }

  #maybeSnapshot(): void {
    if (this.#stopping.signal.aborted) return;
    this.#parts!.snapshotter.maybeSnapshot(this.#replica.applied, this.#replica.confState, () => this.#replica.view());
  }

  #onLeadershipLost(reason: SwarmError): void {
    const { stateMachine, onLeadership } = this.#options;
    // First the store falls back to what is committed: what of the abandoned is committed later comes as entries of others.
    stateMachine.abandonInFlight(reason);
    this.#proposals.abandon(reason);
    this.#configChanges.abandon(reason);
    onLeadership?.(false);
  }

  #onMembershipChange(change: ConfChange, result: MembershipChange): void {
    const { transport, driver } = this.#parts!;
    if (result.t !== "refused") {
      const { raftId, addr } = result.member;
      if (result.t === "removed") transport.removePeer(raftId);
      else transport.setPeer(raftId, addr);
      // Who may vote must be known after a restart without asking anybody.
      driver.append.flush();
      driver.schedule();
    }
    this.#configChanges.applied(change, result);
    this.#options.onMembers?.();
    if (change.type === ConfChangeType.ConfChangeRemoveNode && change.nodeId === this.raftId) this.#selfRemoved();
  }

  async #install(snapshot: LoadedSnapshot): Promise<void> {
    const { transport, snapshotter } = this.#parts!;
    await this.#restore(snapshot, transport);
    const bytes = snapshot.chunks.reduce((sum, { length }) => sum + length, 0);
    this.#options.log.info("raft snapshot installed", { index: snapshot.metadata.index, bytes });
    snapshotter.installed(snapshot.metadata.index);
    // An old file that stays is no harm: the next snapshot tries again.
    snapshotter.prune().catch((error: unknown) => this.#options.log.warn("raft snapshot: prune failed", { error }));
    this.#options.onMembers?.();
  }

  async #restore(snapshot: LoadedSnapshot, transport: PeerTransport): Promise<void> {
    await this.#replica.restore(snapshot, pauses(this.#host.nextTurn, this.#stopping.signal));
    for (const { raftId, addr } of this.#membership.list()) transport.setPeer(raftId, addr);
    transport.retain((raftId) => this.#membership.get(raftId) !== undefined);
    this.#readIndex.appliedTo(snapshot.metadata.index);
  }

  #onTick(): void {
    const { hardState } = this.#parts!.driver.raw.basicStatus();
    termGauge.set(hardState.term);
    commitGauge.set(hardState.commit);
    inflightGauge.set(this.#proposals.count);
    peersGauge.set(
      this.#membership.list().filter(({ raftId }) => raftId !== this.raftId && this.#reachable(raftId)).length,
    );
    this.#promoteLearners();
    this.#handover.maybeForSlowDisk();
  }

  #promoteLearners(): void {
    if (this.#parts === undefined || this.#stopping.signal.aborted) return;
    const { driver, opened } = this.#parts;
    this.#promotion.maybePromote(driver.raw, opened.storage.lastIndex());
  }

  #selfRemoved(): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#options.log.warn("raft: this member was removed from the group", { "raft.id": this.raftId.toString(16) });
    this.#options.onRemoved?.();
  }
}
