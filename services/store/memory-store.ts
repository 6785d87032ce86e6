import { type StoreAction, type StoreSnapshot, timestampOfMs } from "@starling/api";
import {
  assert,
  type Clock,
  type Metrics,
  metrics,
  pacedTurn,
  type Reader,
  SwarmError,
  systemClock,
  type Watcher,
} from "@starling/base";
import { Actions, BATCH_CHANGES_MAX, fromAction, TRANSACTION_BYTES_MAX } from "./actions.ts";
import { InFlight, type Layer, settle } from "./in-flight.ts";
import { Interner } from "./intern.ts";
import { StoreMetrics } from "./metrics.ts";
import { type EventKind, type EventOf, type Kind, type ObjectEvent, tableName } from "./objects.ts";
import type { Proposer, StateMachine, StateRestore } from "./proposer.ts";
import { PART_OBJECTS_MAX, RestoredState } from "./restore.ts";
import { emptyRoot, type ReadTx, type Root, rootToParts, rootToSnapshot } from "./tables/root.ts";
import type { Table } from "./tables/table.ts";
import { Transaction, type WriteTx } from "./transaction.ts";
import { EventFeed, type WatchOptions } from "./watch.ts";

/**
 * The cluster's objects in memory, replicated through a Proposer. Everything runs on the event loop, so a callback sees
 * a consistent state without locks.
 */
export class MemoryStore implements StateMachine {
  readonly #clock: Clock;
  readonly #metrics: StoreMetrics;
  readonly #feed = new EventFeed();
  #interner: { intern: Interner["intern"] } = new Interner();
  #proposer: Proposer | undefined;
  /** Committed state; changed by `#commit`, `applyActions`, `restore` and updates without a proposer. */
  #root: Root = emptyRoot;
  /** Log index (without a proposer: version) of the last commit. */
  #committedIndex = 0;
  #lastVersion = 0;
  readonly #inFlight = new InFlight();
  #updating = false;

  /** Without a proposer, updates commit at once (tests, tools). */
  constructor(
    options: {
      readonly proposer?: Proposer | undefined;
      readonly clock?: Clock;
      readonly metrics?: Metrics;
      /** The actions of others hold their very objects, not decoded ones (simulations): there is nothing to share. */
      readonly sharesObjects?: boolean;
    } = {},
  ) {
    if (options.sharesObjects) this.#interner = { intern: ({ object }) => object };
    this.#proposer = options.proposer;
    this.#clock = options.clock ?? systemClock;
    this.#metrics = new StoreMetrics(options.metrics ?? metrics, this.#clock);
  }

  /** Sets the proposer that updates go through from now on: raft-node needs the store before it can be one. */
  attachProposer(proposer: Proposer): void {
    assert(this.#inFlight.size === 0, "proposer attached while transactions are in flight");
    this.#proposer = proposer;
  }

  /** Log index of the last committed transaction; without a proposer, its version. */
  get version(): number {
    return this.#committedIndex;
  }

  /** Transactions proposed and not yet committed. */
  get inFlightCount(): number {
    return this.#inFlight.size;
  }

  /**
   * Gives `read` the state as it is committed here: consistent, but old where this manager lags, or led and does not know
   * yet that another leads now. For loops, which check again when they write. The `tx` may be kept: it never changes.
   */
  view<T>(read: (tx: ReadTx) => T): T {
    return this.#metrics.timeRead(() => read(this.#root));
  }

  /**
   * As `view`, on a state that holds everything acknowledged before the call, by whichever manager (linearizable). For
   * answers to users. Rejects Unavailable when that cannot be had, and with what `read` throws.
   */
  async read<T>(read: (tx: ReadTx) => T): Promise<T> {
    await this.#proposer?.readIndex();
    return this.view(read);
  }

  /**
   * Runs `write` at once on the newest state (committed and in flight) and proposes what it did. Resolves with its
   * result when that is committed, and also when it did nothing but what it saw is committed. Rejects with what `write`
   * throws (nothing is changed then), ResourceExhausted for more than 1.5 MiB, Unavailable when the transaction was
   * not accepted or its outcome is unknown.
   */
  async update<T>(write: (tx: WriteTx) => T): Promise<T> {
    const startedAt = this.#clock.monotonic();
    const { result, committed } = this.#run((tx) => write(tx));
    await committed;
    this.#metrics.observeWrite(startedAt);
    return result;
  }

  /**
   * Applies `write` to each item, in as many transactions as needed (200 changes or three quarters of the size limit
   * each), all in flight together. An error thrown by `write` or a refusal rejects, and nothing is proposed after it; what was
   * proposed before stays.
   * Gives the event loop a turn between transactions, and shares it with other batches and paced work, so that these do not
   * hold the thread together.
   */
  async batch<T>(items: Iterable<T>, write: (tx: WriteTx, item: T) => void): Promise<void> {
    const startedAt = this.#clock.monotonic();
    const commits: Promise<void>[] = [];
    const iterator = items[Symbol.iterator]();
    let refused = false;
    for (let next = iterator.next(); !next.done && !refused; ) {
      const actions = new Actions();
      const { committed } = this.#run((tx) => {
        while (!next.done && tx.changes.length < BATCH_CHANGES_MAX && actions.bytes < TRANSACTION_BYTES_MAX * 0.75) {
          write(tx, next.value);
          next = iterator.next();
          if (this.#proposer) actions.follow(tx.changes);
        }
      }, actions);
      committed.catch(() => {
        refused = true;
      });
      commits.push(committed);
      if (!next.done) await pacedTurn(this.#clock);
    }
    await Promise.all(commits);
    this.#metrics.observeBatch(startedAt);
  }

  /** Committed events from now on. Ends with ResourceExhausted when it lags too far behind: read again. */
  watch<K extends EventKind = EventKind>(options: WatchOptions<K> = {}): Watcher<EventOf<K>> {
    return this.#feed.watch(options);
  }

  /** What `read` gives, and every event committed after that: without a gap, without an overlap. */
  viewAndWatch<T, K extends EventKind = EventKind>(
    read: (tx: ReadTx) => T,
    options: WatchOptions<K> = {},
  ): { readonly value: T; readonly events: Watcher<EventOf<K>> } {
    const value = this.view(read);
    return { value, events: this.#feed.watch(options) };
  }

  /**
   * As `watch`, but starts with what was committed after `version` (of a "commit" event). Undefined when that is not
   * remembered: about the last 10,000 changes are, of those since this store was last restored from a snapshot. Throws
   * Unavailable for a version that this store has not reached.
   */
  watchFrom<K extends EventKind = EventKind>(
    version: number,
    options: WatchOptions<K> = {},
  ): Reader<EventOf<K>> | undefined {
    if (version > this.#committedIndex) {
      throw new SwarmError(
        "Unavailable",
        `version ${version} is ahead of this manager, which is at ${this.#committedIndex}: try again or ask another`,
      );
    }
    return this.#feed.watchFrom(version, options);
  }

  applyActions(actions: readonly StoreAction[], index: number): void {
    if (this.#inFlight.size > 0) {
      this.abandonInFlight(new SwarmError("Unavailable", "outcome unknown: another manager leads now"));
    }
    const forks = new Map<Kind, Table<Kind>>();
    const changes = actions.map((action) => {
      const change = fromAction(action);
      const { kind } = change;
      let table = forks.get(kind);
      if (table === undefined) {
        table = (this.#root[tableName(kind)] as unknown as Table<Kind>).fork();
        forks.set(kind, table);
      }
      return this.#applyChange(table, change, index);
    });
    const tables = [...forks].map(([kind, table]) => [tableName(kind), table]);
    this.#publish({ ...this.#root, ...Object.fromEntries(tables) }, changes, index);
  }

  abandonInFlight(reason: SwarmError): void {
    this.#inFlight.abandon(reason);
    this.#lastVersion = this.#committedIndex;
  }

  /** The committed state, whole; `snapshotParts` is for states of any size. */
  snapshot(): StoreSnapshot {
    return rootToSnapshot(this.#root);
  }

  snapshotParts(): Iterable<StoreSnapshot> {
    return rootToParts(this.#root, PART_OBJECTS_MAX);
  }

  reached(index: number): void {
    this.#committedIndex = Math.max(this.#committedIndex, index);
  }

  /** Replaces the state in one piece; `beginRestore` is for states of any size. */
  restore(snapshot: StoreSnapshot, index = 0): void {
    const state = new RestoredState(this.#root);
    state.add(snapshot);
    for (const _ of state.compare());
    this.#replace(state, index);
  }

  /** Watchers get the difference as one commit, at the end. */
  beginRestore(index = 0): StateRestore {
    const before = this.#root;
    const state = new RestoredState(before);
    return {
      add: (part) => state.add(part),
      finish: async (pause) => {
        for (const _ of state.compare()) await pause();
        assert(this.#root === before, "the store changed while a snapshot was being restored");
        this.#replace(state, index);
      },
    };
  }

  /** The state's last commit may have left no object that bears its version: it is the snapshot's index that tells. */
  #replace(state: RestoredState, snapshotIndex: number): void {
    this.abandonInFlight(new SwarmError("Unavailable", "outcome unknown: state was replaced by a snapshot"));
    this.#interner = state.interner;
    const index = Math.max(this.#committedIndex, state.newestVersion, snapshotIndex);
    this.#setRoot(state.root, index);
    this.#feed.replace(state.changes, index);
  }

  /** Applies a change from the log; throws when the table disagrees with what the change presumes. */
  #applyChange(table: Table<Kind>, change: ObjectEvent, index: number): ObjectEvent {
    const { kind, action } = change;
    const old = table.get(change.object.id);
    if ((action === "create") !== (old === undefined)) {
      const problem = old === undefined ? "does not exist" : "exists already";
      throw new Error(
        `log entry ${index} cannot be applied: ${action} of ${kind} ${change.object.id}, which ${problem}`,
      );
    }
    const object = this.#interner.intern(change, old);
    if (action === "remove") {
      table.remove(old!);
      return { kind, action, object: old! } as ObjectEvent;
    }
    table.put(object, old);
    return { kind, action, object, ...(old && { old }) } as ObjectEvent;
  }

  /** Runs one callback on the newest state and proposes its changes. */
  #run<T>(
    write: (tx: Transaction) => T,
    actions = new Actions(),
  ): { readonly result: T; readonly committed: Promise<void> } {
    assert(!this.#updating, "update called within an update's callback");
    const { newest } = this.#inFlight;
    const version = Math.max(this.#lastVersion, this.#proposer?.committedIndex ?? 0) + 1;
    const now = timestampOfMs(this.#clock.now());
    const tx = new Transaction(newest?.root ?? this.#root, version, now, this.#metrics.timeLookup);
    this.#updating = true;
    let result: T;
    try {
      result = this.#metrics.timeCallback(() => write(tx));
    } finally {
      this.#updating = false;
    }
    assert(!(result instanceof Promise), "update's callback is asynchronous: it must be done when it returns");
    const root = tx.close();
    if (tx.changes.length === 0) return { result, committed: newest?.outcome.promise ?? Promise.resolve() };
    if (this.#proposer === undefined) {
      this.#lastVersion = version;
      this.#publish(root, tx.changes, version);
      return { result, committed: Promise.resolve() };
    }
    actions.follow(tx.changes);
    return { result, committed: this.#propose(this.#proposer, tx.changes, actions, root, version) };
  }

  #propose(
    proposer: Proposer,
    changes: readonly ObjectEvent[],
    { list: actions, bytes }: Actions,
    root: Root,
    version: number,
  ): Promise<void> {
    if (bytes > TRANSACTION_BYTES_MAX) {
      throw new SwarmError(
        "ResourceExhausted",
        `transaction of ${bytes} bytes exceeds the limit of ${TRANSACTION_BYTES_MAX} bytes: split it`,
      );
    }
    const layer: Layer = { version, changes, actions, root, outcome: Promise.withResolvers(), settled: false };
    this.#lastVersion = version;
    this.#inFlight.push(layer);
    try {
      proposer.propose(actions, (index) => this.#commit(layer, index)).catch((error) => this.#fail(layer, error));
    } catch (error) {
      this.#fail(layer, error);
    }
    return layer.outcome.promise;
  }

  /** The proposer's word that `layer` is the next entry of the log. */
  #commit(layer: Layer, index: number): void {
    if (layer.settled) {
      this.applyActions(layer.actions, index);
      return;
    }
    this.#inFlight.shift(layer, index);
    this.#publish(layer.root, layer.changes, index);
    settle(layer);
  }

  /** `layer` was refused: those made on top of it end too. */
  #fail(layer: Layer, error: unknown): void {
    if (layer.settled) return;
    this.#inFlight.refuse(layer, SwarmError.from(error));
    this.#lastVersion = this.#inFlight.newest?.version ?? this.#committedIndex;
  }

  #publish(root: Root, changes: readonly ObjectEvent[], index: number): void {
    this.#setRoot(root, index);
    this.#feed.publish(changes, index);
  }

  #setRoot(root: Root, index: number): void {
    this.#root = root;
    this.#committedIndex = index;
    this.#lastVersion = Math.max(this.#lastVersion, index);
  }
}
