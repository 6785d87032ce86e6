import { type Clock, type Logger, type Millis, type Random, SwarmError, type Timer } from "@starling/base";
import {
  type Entry,
  EntryType,
  ErrProposalDropped,
  ErrStepPeerNotFound,
  LocalAppendThread,
  LocalApplyThread,
  type Message,
  MessageType,
  newMessage,
  RaftError,
  type Logger as RaftLogger,
  type RawNode,
  type ReadState,
  type SoftState,
  StateType,
} from "raft-ts";
import { AppendWorker } from "./append-worker.ts";
import { ApplyWorker } from "./apply-worker.ts";
import type { RaftHost } from "./host.ts";
import type { NextTurn } from "./next-turn.ts";
import type { OpenedLog } from "./open-log.ts";
import { owningEntry } from "./owned.ts";
import type { LoadedSnapshot } from "./snapshot-store/snapshot-store.ts";

/** Raft's timing. Ticks of 100 ms and an election after 9 to 17 of them: a new leader within about a second. */
export interface RaftTiming {
  readonly tickMs: number;
  readonly electionTicks: number;
  readonly heartbeatTicks: number;
}
export type RaftTicks = Pick<RaftTiming, "electionTicks" | "heartbeatTicks">;
export const defaultTiming: RaftTiming = { tickMs: 100, electionTicks: 9, heartbeatTicks: 3 };

/** A node that neither leads nor may be elected wakes up so often all the same. */
const ticksSleptMax = 20;

/** What raft decides, for its node to carry out. Called on the event loop, in raft's order. */
export interface DriverEvents {
  softState(state: SoftState): void;
  /** The term, vote or commit index changed. */
  term(term: number): void;
  readState(state: ReadState): void;
  send(message: Message): void;
  apply(entry: Entry): void;
  applyIdle(): void;
  /** Called when everything before is applied. */
  install(snapshot: LoadedSnapshot): Promise<void>;
  tick(): void;
  fatal(error: unknown): void;
}

/**
 * Runs a RawNode: ticks it, hands its work to the append and apply workers and its messages to the network. Everything
 * that arrives in one turn of the event loop is handled together.
 */
export class Driver {
  readonly raw: RawNode;
  readonly append: AppendWorker;
  readonly #apply: ApplyWorker;
  readonly #events: DriverEvents;
  readonly #clock: Clock;
  readonly #nextTurn: NextTurn;
  readonly #tickMs: number;
  #electionTicks: number;
  readonly #ownId: bigint;
  #timer: Timer | undefined;
  /** When `#timer` fires; it counts ticks up to then. */
  #wakeAt: Millis = 0;
  /** The moment up to which ticks are counted. */
  #tickedTo: Millis = 0;
  #leads = false;
  #scheduled = false;
  #stopped = false;
  /** Of this turn of the event loop. */
  #proposals: { readonly entry: Entry; readonly refused: () => void }[] = [];

  constructor(options: {
    readonly opened: OpenedLog;
    readonly timing: RaftTiming;
    readonly clock: Clock;
    readonly random: Random;
    readonly log: Logger;
    readonly host: Pick<RaftHost, "nextTurn" | "newRawNode">;
    readonly events: DriverEvents;
  }) {
    const { opened, timing, clock, log, host, events } = options;
    this.#events = events;
    this.#clock = clock;
    this.#nextTurn = host.nextTurn;
    this.#tickMs = timing.tickMs;
    this.#electionTicks = timing.electionTicks;
    this.#ownId = opened.raftId;
    const deliver = (responses: readonly Message[]) => this.#deliver(responses);
    const fatal = (error: unknown) => events.fatal(error);
    this.#apply = new ApplyWorker({
      clock,
      nextTurn: host.nextTurn,
      deliver,
      fatal,
      apply: (entry) => events.apply(entry),
      idle: () => events.applyIdle(),
    });
    this.append = new AppendWorker({
      ...opened,
      clock,
      log,
      deliver,
      fatal,
      install: async (snapshot) => {
        await this.#apply.drained();
        await events.install(snapshot);
      },
    });
    this.raw = host.newRawNode({
      id: opened.raftId,
      storage: opened.storage,
      applied: opened.snapshot?.metadata.index ?? 0,
      random: options.random,
      electionTick: timing.electionTicks,
      heartbeatTick: timing.heartbeatTicks,
      asyncStorageWrites: true,
      maxSizePerMsg: 256 * 1024,
      maxCommittedSizePerReady: 4 * 1024 * 1024,
      maxInflightMsgs: 256,
      maxInflightBytes: 8 * 1024 * 1024,
      checkQuorum: true,
      preVote: true,
      disableProposalForwarding: true,
      stepDownOnRemoval: true,
      logger: raftLogger(log),
    });
  }

  start(): void {
    this.#tickedTo = this.#clock.monotonic();
    this.#sleep();
    this.schedule();
  }

  /** The shortest time without a leader after which a follower campaigns. */
  get electionTimeoutMs(): Millis {
    return this.#electionTicks * this.#tickMs;
  }

  /** From now on. Throws InvalidArgument, naming field and remedy, for ticks that make no sense. */
  setTicks({ electionTicks, heartbeatTicks }: RaftTicks): void {
    try {
      this.raw.setTicks({ electionTick: electionTicks, heartbeatTick: heartbeatTicks });
    } catch (cause) {
      throw new SwarmError("InvalidArgument", (cause as Error).message, { cause });
    }
    this.#electionTicks = electionTicks;
    this.schedule();
  }

  /**
   * Waits for the next tick that does something; those before are counted when it has passed, or when a message comes. The
   * one that brings an election is waited for by itself: a process that was paused reads its messages first.
   */
  #sleep(): void {
    if (this.#stopped) return;
    const work = Math.min(this.raw.ticksToWork(), ticksSleptMax);
    const wakeAt = this.#tickedTo + (this.#leads ? work : Math.max(1, work - 1)) * this.#tickMs;
    if (this.#timer !== undefined && wakeAt >= this.#wakeAt) return;
    this.#timer?.cancel();
    this.#wakeAt = wakeAt;
    this.#timer = this.#clock.setTimer(Math.max(0, wakeAt - this.#clock.monotonic()), () => this.#wake());
  }

  #wake(): void {
    this.#timer = undefined;
    if (this.#stopped) return;
    for (; this.#wakeAt - this.#tickedTo > this.#tickMs / 2; this.#tickedTo += this.#tickMs) this.raw.tick();
    // What a paused process missed beyond that is not made up for.
    this.#tickedTo = Math.max(this.#tickedTo, this.#clock.monotonic() - this.#tickMs);
    this.#events.tick();
    this.#sleep();
    this.schedule();
  }

  /** Counts the ticks that have passed, as far as they do nothing else. */
  #countTicks(): void {
    const now = Math.min(this.#clock.monotonic(), this.#wakeAt);
    for (; now - this.#tickedTo >= this.#tickMs && this.raw.ticksToWork() > 1; this.#tickedTo += this.#tickMs) {
      this.raw.tick();
    }
  }

  /**
   * Proposes `data`. All that is proposed in one turn of the event loop goes to the peers in one message; raft takes all of
   * it or none: then each `refused` is called.
   */
  propose(data: Uint8Array, refused: () => void): void {
    const entry = owningEntry({ term: 0, index: 0, type: EntryType.EntryNormal, data });
    this.#proposals.push({ entry, refused });
    this.schedule();
  }

  /** Handles raft's work soon: after everything else of this turn of the event loop. */
  schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#nextTurn(() => this.#turn());
  }

  /** A peer's message. What raft cannot take now is dropped, as a network would. @throws InvalidArgument if malformed */
  step(message: Message): void {
    if (this.#stopped) return;
    try {
      this.#countTicks();
      this.raw.step(message);
    } catch (thrown) {
      // The sender left the group, or raft cannot take it now: the sender tries again.
      if (thrown === ErrStepPeerNotFound || thrown === ErrProposalDropped) return;
      if (thrown instanceof RaftError) throw new SwarmError("InvalidArgument", thrown.message, { cause: thrown });
      this.#events.fatal(thrown);
    }
    this.schedule();
  }

  /** Nothing is stepped, written or applied once this resolves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await Promise.all([this.append.stop(), this.#apply.stop()]);
  }

  #turn(): void {
    this.#scheduled = false;
    try {
      this.#proposeAll();
      while (!this.#stopped && this.raw.hasReady()) {
        const { softState, hardState, readStates, messages } = this.raw.ready();
        if (softState) {
          this.#leads = softState.raftState === StateType.StateLeader;
          this.#events.softState(softState);
        }
        if (hardState) this.#events.term(hardState.term);
        for (const state of readStates) this.#events.readState(state);
        for (const message of messages) this.#route(message);
      }
      // What was decided may be due earlier than what was waited for.
      this.#sleep();
    } catch (thrown) {
      this.#events.fatal(thrown);
    }
  }

  #proposeAll(): void {
    if (this.#proposals.length === 0 || this.#stopped) return;
    const proposals = this.#proposals;
    this.#proposals = [];
    const entries = proposals.map(({ entry }) => entry);
    try {
      this.raw.step(newMessage({ type: MessageType.MsgProp, from: this.#ownId, entries }));
    } catch (thrown) {
      if (thrown !== ErrProposalDropped) throw thrown;
      for (const { refused } of proposals) refused();
    }
  }

  #route(message: Message): void {
    if (message.to === LocalAppendThread) this.append.enqueue(message);
    else if (message.to === LocalApplyThread) this.#apply.enqueue(message);
    else this.#events.send(message);
  }

  #deliver(responses: readonly Message[]): void {
    if (this.#stopped) return;
    try {
      for (const message of responses) {
        if (message.to === this.#ownId) this.raw.step(message);
        else this.#events.send(message);
      }
    } catch (thrown) {
      this.#events.fatal(thrown);
    }
    this.schedule();
  }
}

/** Raft's own lines; its debug level tells of every message and stays out. */
function raftLogger(log: Logger): RaftLogger {
  return {
    debug() {},
    info: (text) => log.debug(`raft: ${text()}`),
    warn: (text) => log.warn(`raft: ${text()}`),
    error: (text) => log.error(`raft: ${text()}`),
    fatal: (text) => log.error(`raft: ${text()}`),
  };
}
