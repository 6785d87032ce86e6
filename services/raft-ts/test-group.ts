import { confChangeOf } from "./confchange/conf-change.ts";
import type { Config } from "./config.ts";
import { ErrProposalDropped, ErrStepPeerNotFound } from "./errors.ts";
import type { LogText } from "./logger.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { RawNode } from "./raw-node.ts";
import {
  type ConfState,
  type Entry,
  EntryType,
  emptyConfState,
  type Message,
  type MessageType,
  noData,
  noLimit,
  type ReadState,
  StateType,
} from "./types.ts";

// The vocabulary of the tests: a few nodes, a network that can be cut, and time that passes on command.

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (data: Uint8Array): string => new TextDecoder().decode(data);

export const entry = (term: number, index: number, data = ""): Entry => ({
  term,
  index,
  type: EntryType.EntryNormal,
  data: bytes(data),
});

export const voters = (...ids: number[]): ConfState => ({ ...emptyConfState, voters: ids.map(BigInt) });

export type Options = Partial<Config>;

export const defaultConfig = {
  electionTick: 10,
  heartbeatTick: 1,
  maxSizePerMsg: noLimit,
  maxInflightMsgs: 256,
} as const;

/** A storage whose log is `entries`, in a group of `confState`, with the given term and vote. */
export function storageOf(
  confState: ConfState,
  entries: readonly Entry[] = [],
  term = entries.at(-1)?.term ?? 0,
): MemoryStorage {
  const storage = new MemoryStorage();
  storage.applySnapshot({ data: noData, metadata: { index: 0, term: 0, confState } });
  storage.append(entries);
  storage.setHardState({ term, vote: 0n, commit: 0 });
  return storage;
}

export class Member {
  readonly id: bigint;
  readonly storage: MemoryStorage;
  readonly options: Options;
  node: RawNode;
  readonly applied: string[] = [];
  appliedIndex = 0;
  readonly reads: ReadState[] = [];
  readonly log: string[] = [];

  /** The same numbers in every run. */
  #seed: number;
  readonly #random = (): number => {
    this.#seed = (Math.imul(this.#seed, 1_103_515_245) + 12_345) >>> 0;
    return this.#seed / 2 ** 32;
  };

  constructor(id: bigint, storage: MemoryStorage, options: Options) {
    this.id = id;
    this.storage = storage;
    this.options = options;
    this.#seed = Number(id);
    this.node = this.#start();
  }

  #start(): RawNode {
    const line = (level: string) => (t: LogText) => void this.log.push(`${level} ${t()}`);
    const logger = {
      debug: line("DEBUG"),
      info: line("INFO"),
      warn: line("WARN"),
      error: line("ERROR"),
      fatal: line("FATAL"),
    };
    const base = { ...defaultConfig, random: this.#random, logger, ...this.options };
    return new RawNode({ ...base, id: this.id, storage: this.storage, applied: this.appliedIndex });
  }

  /** Lose everything that is not in storage. */
  restart(): void {
    this.node = this.#start();
  }

  get state(): StateType {
    return this.node.basicStatus().softState.raftState;
  }

  get lead(): bigint {
    return this.node.basicStatus().softState.lead;
  }

  get term(): number {
    return this.node.basicStatus().hardState.term;
  }

  get commit(): number {
    return this.node.basicStatus().hardState.commit;
  }

  isLeader(): boolean {
    return this.state === StateType.StateLeader;
  }

  entries(): Entry[] {
    const first = this.storage.firstIndex();
    const last = this.storage.lastIndex();
    return last < first ? [] : this.storage.entries(first, last + 1, noLimit);
  }

  /** Handle one Ready, if there is one; returns what is to be sent. */
  handleReady(): readonly Message[] {
    if (!this.node.hasReady()) return [];
    const rd = this.node.ready();
    if (rd.hardState !== undefined) this.storage.setHardState(rd.hardState);
    if (rd.snapshot !== undefined) {
      this.storage.applySnapshot(rd.snapshot);
      this.appliedIndex = rd.snapshot.metadata.index;
    }
    this.storage.append(rd.entries);
    this.reads.push(...rd.readStates);
    for (const e of rd.committedEntries) this.#apply(e);
    this.node.advance();
    return rd.messages;
  }

  #apply(e: Entry): void {
    this.appliedIndex = e.index;
    const change = confChangeOf(e);
    if (change !== undefined) this.node.applyConfChange(change);
    else if (e.data.length > 0) this.applied.push(text(e.data));
  }
}

export class Group {
  readonly members: ReadonlyMap<bigint, Member>;
  /** Sent and not delivered. */
  inFlight: Message[] = [];
  /** Messages that this refuses are lost. */
  passes: (m: Message) => boolean = () => true;

  constructor(members: readonly Member[]) {
    this.members = new Map(members.map((m) => [m.id, m]));
  }

  at(id: number | bigint): Member {
    return this.members.get(BigInt(id))!;
  }

  leaders(): number[] {
    return [...this.members.values()].filter((m) => m.isLeader()).map((m) => Number(m.id));
  }

  /** Only messages between nodes of the same part get through. */
  partition(...parts: number[][]): void {
    const partOf = new Map(parts.flatMap((ids, part) => ids.map((id) => [BigInt(id), part] as const)));
    this.passes = (m) => partOf.get(m.from) === partOf.get(m.to);
  }

  /** Messages of this type are lost from now on. */
  lose(type: MessageType): void {
    this.passes = (m) => m.type !== type;
  }

  heal(): void {
    this.passes = () => true;
  }

  deliver(m: Message): void {
    if (!this.passes(m)) return;
    try {
      this.members.get(m.to)?.node.step(m);
    } catch (err) {
      // A removed node may still answer; a forwarded proposal may find no leader.
      if (err !== ErrStepPeerNotFound && err !== ErrProposalDropped) throw err;
    }
  }

  /** Let everything happen that can without time passing. */
  settle(): this {
    for (let busy = true; busy; ) {
      busy = false;
      for (const member of this.members.values()) {
        if (!member.node.hasReady()) continue;
        this.inFlight.push(...member.handleReady());
        busy = true;
      }
      const delivered = this.inFlight.splice(0);
      for (const m of delivered) this.deliver(m);
      busy ||= delivered.length > 0;
    }
    return this;
  }

  campaign(id: number): this {
    this.at(id).node.campaign();
    return this.settle();
  }

  propose(id: number, data: string): this {
    this.at(id).node.propose(bytes(data));
    return this.settle();
  }

  /** `ticks` ticks for the given nodes (all, if none), settling after each. */
  pass(ticks: number, ...ids: number[]): this {
    const some = ids.length > 0 ? ids.map((id) => this.at(id)) : [...this.members.values()];
    for (let i = 0; i < ticks; i++) {
      for (const m of some) m.node.tick();
      this.settle();
    }
    return this;
  }
}

/** `n` voters with ids from 1 on and empty logs. */
export function group(n: number, options: Options = {}): Group {
  const confState = voters(...Array.from({ length: n }, (_, i) => i + 1));
  return groupOf(confState.voters.map((id) => new Member(id, storageOf(confState), options)));
}

export function groupOf(members: readonly Member[]): Group {
  return new Group(members);
}

/** Every node has a log of its own; entries are given by their terms. All have heard of the highest one. */
export function groupWithLogs(logs: readonly (readonly number[])[], options: Options = {}): Group {
  const confState = voters(...logs.map((_, i) => i + 1));
  const highest = Math.max(0, ...logs.flat());
  return groupOf(
    logs.map((terms, i) => {
      const entries = terms.map((term, at) => entry(term, at + 1));
      return new Member(BigInt(i + 1), storageOf(confState, entries, highest), options);
    }),
  );
}

/** All that is pending at one node, handled; returns the messages it sends. */
export function drain(member: Member): Message[] {
  const sent: Message[] = [];
  while (member.node.hasReady()) sent.push(...member.handleReady());
  return sent;
}
