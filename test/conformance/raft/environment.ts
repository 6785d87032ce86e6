import {
  type Config,
  confChangeOf,
  describeEntries,
  describeMessage,
  describeReady,
  type Entry,
  EntryType,
  type HardState,
  isEmptyHardState,
  isEmptySnapshot,
  isLocalMsgTarget,
  MemoryStorage,
  type Message,
  MessageType,
  noLimit,
  RaftError,
  RawNode,
  type Snapshot,
  type Storage,
} from "raft-ts";
import { DirectiveError, Output, UsageError } from "./output.ts";

const lastOfHistory = (node: TestNode): Snapshot => node.history.at(-1)!;

/** MemoryStorage, but raft's snapshots are those of the test's history. */
class TestStorage extends MemoryStorage {
  readonly history: Snapshot[];
  constructor(history: Snapshot[]) {
    super();
    this.history = history;
  }
  override snapshot(): Snapshot {
    return this.history.at(-1)!;
  }
}

export interface TestNode {
  readonly id: bigint;
  readonly config: Config;
  readonly raw: RawNode;
  readonly storage: MemoryStorage;
  /** MsgStorageAppend and MsgStorageApply that wait for their thread. */
  readonly appendWork: Message[];
  readonly applyWork: Message[];
  /** Snapshots after every applied entry, the initial one first. The state machine appends payloads. */
  readonly history: Snapshot[];
}

export type NodeOptions = Omit<Config, "id" | "storage" | "logger" | "random">;

export const defaultOptions: NodeOptions = {
  electionTick: 3,
  heartbeatTick: 1,
  maxSizePerMsg: noLimit,
  maxInflightMsgs: 2 ** 31 - 1,
};

export interface Recipient {
  readonly id: bigint;
  readonly drop: boolean;
}

/** Some raft nodes, the messages in flight between them, and one output. */
export class Environment {
  readonly output = new Output();
  readonly nodes: TestNode[] = [];
  messages: Message[] = [];

  /** @throws UsageError if there is no such node. */
  node(id: bigint): TestNode {
    const node = this.nodes[Number(id) - 1];
    if (node === undefined) throw new UsageError(`no node ${id}: there are ${this.nodes.length}`);
    return node;
  }

  /** @param bootstrap `snapshot` is not empty and goes into the storage. */
  addNode(options: NodeOptions, snapshot: Snapshot, bootstrap: boolean): void {
    const id = BigInt(this.nodes.length + 1);
    const history: Snapshot[] = [];
    const storage = new TestStorage(history);
    let first = snapshot;
    if (bootstrap) {
      if (snapshot.metadata.index <= 1) {
        throw new DirectiveError("index must be specified as > 1 due to bootstrap");
      }
      first = { ...snapshot, metadata: { ...snapshot.metadata, term: 1 } };
      storage.applySnapshot(first);
    }
    // Fixed, so that a failure can be seen again; the files choose timeouts themselves where they matter.
    const random = () => 0.5;
    const config: Config = { ...options, id, storage: storage satisfies Storage, random, logger: this.output };
    let raw: RawNode;
    try {
      raw = new RawNode(config);
    } catch (err) {
      // The original stops there.
      if (err instanceof RaftError) throw new UsageError(err.message);
      throw err;
    }
    history.push(first);
    this.nodes.push({ id, config, raw, storage, appendWork: [], applyWork: [], history });
  }

  printLog({ storage }: TestNode): void {
    const first = storage.firstIndex();
    const last = storage.lastIndex();
    if (last < first) this.output.write(`log is empty: first index=${first}, last index=${last}`);
    else this.output.write(describeEntries(storage.entries(first, last + 1, noLimit)));
  }

  /** Those in flight to `id` (of `type`), which leave the list; local ones can't be dropped and stay. */
  #take({ id, drop }: Recipient, type: MessageType | undefined): Message[] {
    const mine = (m: Message) => m.to === id && !(drop && isLocal(m)) && (type === undefined || m.type === type);
    const taken = this.messages.filter(mine);
    this.messages = this.messages.filter((m) => !mine(m));
    return taken;
  }

  hasMessagesFor(id: bigint): boolean {
    return this.messages.some((m) => m.to === id);
  }

  /** Deliver or drop; returns how many were handled. */
  deliver(recipients: readonly Recipient[], type?: MessageType): number {
    let handled = 0;
    for (const recipient of recipients) {
      for (const m of this.#take(recipient, type)) {
        handled++;
        this.output.write(`${recipient.drop ? "dropped: " : ""}${describeMessage(m)}\n`);
        // Messages to nodes that don't exist yet may be dropped.
        if (recipient.drop) continue;
        try {
          this.node(m.to).raw.step(m);
        } catch (err) {
          if (!(err instanceof RaftError)) throw err;
          this.output.write(`${err.message}\n`);
        }
      }
    }
    return handled;
  }

  processReady(node: TestNode): void {
    const rd = node.raw.ready();
    this.output.write(describeReady(rd));
    const isAsync = node.config.asyncStorageWrites ?? false;
    if (!isAsync) {
      this.#append(node, rd.hardState, rd.entries, rd.snapshot);
      this.#apply(node, rd.committedEntries);
    }
    for (const m of rd.messages) {
      if (!isLocalMsgTarget(m.to)) this.messages.push(m);
      else if (isAsync && m.type === MessageType.MsgStorageAppend) node.appendWork.push(m);
      else if (isAsync && m.type === MessageType.MsgStorageApply) node.applyWork.push(m);
      else throw new Error(`unexpected message to a storage thread: ${describeMessage(m)}`);
    }
    if (!isAsync) node.raw.advance();
  }

  processAppendThread(node: TestNode): void {
    const m = node.appendWork.shift();
    if (m === undefined) {
      this.output.write("no append work to perform");
      return;
    }
    this.#printWork(m);
    this.#append(node, { term: m.term, vote: m.vote, commit: m.commit }, m.entries, m.snapshot);
    this.#respond(m);
  }

  processApplyThread(node: TestNode): void {
    const m = node.applyWork.shift();
    if (m === undefined) {
      this.output.write("no apply work to perform");
      return;
    }
    this.#printWork(m);
    this.#apply(node, m.entries);
    this.#respond(m);
  }

  #printWork(m: Message): void {
    this.output.write(`Processing:\n${describeMessage({ ...m, responses: undefined })}\n`);
  }

  #respond(m: Message): void {
    this.output.write("Responses:\n");
    for (const response of m.responses ?? []) {
      this.output.write(`${describeMessage(response)}\n`);
      this.messages.push(response);
    }
  }

  #append(
    { storage }: TestNode,
    hardState: HardState | undefined,
    entries: readonly Entry[],
    snapshot: Snapshot | undefined,
  ): void {
    if (hardState !== undefined && !isEmptyHardState(hardState)) storage.setHardState(hardState);
    if (snapshot === undefined || isEmptySnapshot(snapshot)) {
      storage.append(entries);
      return;
    }
    if (entries.length > 0) throw new DirectiveError("can't apply snapshot and entries at the same time");
    storage.applySnapshot(snapshot);
  }

  #apply(node: TestNode, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const last = lastOfHistory(node);
      let update = entry.data;
      let { confState } = last.metadata;
      if (entry.type !== EntryType.EntryNormal) {
        const change = confChangeOf(entry)!;
        update = change.context ?? new Uint8Array(0);
        confState = node.raw.applyConfChange(change);
      }
      const data = new Uint8Array([...last.data, ...update]);
      node.history.push({ data, metadata: { index: entry.index, term: entry.term, confState } });
    }
  }
}

function isLocal(m: Message): boolean {
  return m.from === m.to || isLocalMsgTarget(m.from) || isLocalMsgTarget(m.to);
}
