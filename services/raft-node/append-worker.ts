import { type Clock, type Logger, SwarmError } from "@starling/base";
import {
  type HardState,
  type MemoryStorage,
  type Message,
  noData,
  type Snapshot,
  type SnapshotMetadata,
} from "raft-ts";
import { isDiskFull } from "./disk.ts";
import type { LoadedSnapshot, SnapshotStore } from "./snapshot-store/snapshot-store.ts";
import { partsOfData } from "./transport/snapshot-parts.ts";
import type { Wal } from "./wal/wal.ts";

export interface AppendWorkerOptions {
  readonly wal: Wal;
  readonly storage: MemoryStorage;
  readonly snapshots: SnapshotStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** What was last written, from the log when it was opened. */
  readonly hardState: HardState | undefined;
  /** Waits for the entries handed out before; then replaces the state by the snapshot, which is on disk. */
  readonly install: (snapshot: LoadedSnapshot) => Promise<void>;
  /** The work is durable: its responses may go. */
  readonly deliver: (responses: readonly Message[]) => void;
  readonly fatal: (error: unknown) => void;
}

const groupBytesMax = 4 * 1024 * 1024;
const diskFullRetryMs = 500;

/**
 * Raft's append thread: takes MsgStorageAppend in order, writes what has gathered during the last write with one synced
 * write (group commit), makes it readable to raft, and delivers the responses.
 */
export class AppendWorker {
  readonly #options: AppendWorkerOptions;
  #queue: Message[] = [];
  #running: Promise<void> | undefined;
  #stopped = false;
  #hardState: HardState;
  /** A commit index that waits for the next write: losing it costs nothing. */
  #unwritten: HardState | undefined;
  #writeSince: number | undefined;
  /** A write is asked for even if only the commit index is new. */
  #flush = false;
  #rekey: { readonly mark: SnapshotMetadata; readonly done: PromiseWithResolvers<boolean> } | undefined;

  constructor(options: AppendWorkerOptions) {
    this.#options = options;
    this.#hardState = options.hardState ?? { term: 0, vote: 0n, commit: 0 };
  }

  /** How long the write under way takes already, in milliseconds; 0 when there is none. */
  get busyMs(): number {
    return this.#writeSince === undefined ? 0 : this.#options.clock.monotonic() - this.#writeSince;
  }

  enqueue(message: Message): void {
    if (this.#stopped) return;
    this.#queue.push(message);
    this.#running ??= this.#run();
  }

  /** Makes the commit index durable with the next write even if nothing else asks for one. */
  flush(): void {
    if (this.#stopped || this.#unwritten === undefined) return;
    this.#flush = true;
    this.#running ??= this.#run();
  }

  /**
   * Between two writes, drops what older keys sealed from the log; the snapshot `mark` is on disk under the current one.
   * False when nothing was done: the log begins behind that snapshot by now, or the node stops.
   */
  dropOlderKeys(mark: SnapshotMetadata): Promise<boolean> {
    if (this.#stopped) return Promise.resolve(false);
    this.#rekey = { mark, done: Promise.withResolvers<boolean>() };
    this.#running ??= this.#run();
    return this.#rekey.done.promise;
  }

  /** Takes nothing more. Resolves when the write under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#queue = [];
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (this.#queue.length > 0 || this.#flush || this.#rekey) {
        await this.#dropOlderKeys();
        const group = this.#takeGroup();
        if (group[0]?.snapshot !== undefined) await this.#writeSnapshot(group[0], group[0].snapshot);
        else await this.#writeGroup(group);
        for (const { responses = [] } of group) this.#options.deliver(responses);
      }
    } catch (thrown) {
      const stopping = this.#stopped && thrown instanceof SwarmError && thrown.code === "Cancelled";
      this.#stopped = true;
      if (!stopping) this.#options.fatal(thrown);
    } finally {
      this.#writeSince = undefined;
      this.#running = undefined;
      this.#rekey?.done.resolve(false);
      this.#rekey = undefined;
    }
  }

  async #dropOlderKeys(): Promise<void> {
    if (this.#rekey === undefined) return;
    const { wal, storage } = this.#options;
    const { mark, done } = this.#rekey;
    const overtaken = storage.snapshot().metadata.index > mark.index;
    const first = mark.index + 1;
    const end = storage.lastIndex() + 1;
    const entries = () => (first < end ? storage.entries(first, end, Number.MAX_SAFE_INTEGER) : []);
    if (!overtaken) await wal.dropOlderKeys(mark, entries);
    this.#rekey = undefined;
    done.resolve(!overtaken);
  }

  /** Messages for one write; one with a snapshot stands alone. */
  #takeGroup(): Message[] {
    let count = 0;
    let bytes = 0;
    while (count < this.#queue.length && bytes < groupBytesMax) {
      const message = this.#queue[count]!;
      if (message.snapshot !== undefined) {
        if (count === 0) count = 1;
        break;
      }
      for (const { data } of message.entries) bytes += data.length + 24;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #writeGroup(group: readonly Message[]): Promise<void> {
    const { wal, storage } = this.#options;
    for (const message of group) this.#note(message);
    const entries = group.length === 1 ? group[0]!.entries : group.flatMap((message) => message.entries);
    const hardState = this.#unwritten;
    const votes = hardState !== undefined && !sameBallot(hardState, this.#hardState);
    const flush = this.#flush && hardState !== undefined;
    this.#flush = false;
    if (entries.length === 0 && !votes && !flush) return;
    this.#writeSince = this.#options.clock.monotonic();
    await wal.append({ hardState, entries });
    this.#writeSince = undefined;
    if (hardState) this.#hardState = hardState;
    this.#unwritten = undefined;
    for (const message of group) storage.append(message.entries);
  }

  async #writeSnapshot(message: Message, snapshot: Snapshot): Promise<void> {
    const { wal, storage, snapshots, install } = this.#options;
    const { metadata } = snapshot;
    this.#note(message);
    const chunks = partsOfData(snapshot.data);
    await this.#retryWhileFull(() => snapshots.save(metadata, chunks));
    const hardState = this.#unwritten ?? this.#hardState;
    await wal.append({ mark: metadata, hardState, entries: message.entries });
    this.#hardState = hardState;
    this.#unwritten = undefined;
    await install({ metadata, chunks });
    storage.applySnapshot({ data: noData, metadata });
    storage.append(message.entries);
  }

  #note({ term, vote, commit }: Message): void {
    if (term === 0 && vote === 0n && commit === 0) return;
    this.#unwritten = { term, vote, commit };
  }

  async #retryWhileFull(save: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await save();
      } catch (thrown) {
        if (!isDiskFull(thrown) || this.#stopped) throw thrown;
        this.#options.log.error("disk full: cannot save the leader's snapshot", { error: thrown });
        await this.#options.clock.sleep(diskFullRetryMs);
      }
    }
  }
}

function sameBallot(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote;
}
