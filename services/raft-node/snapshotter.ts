import type { ClusterSnapshot, StoreSnapshot } from "@starling/api";
import type { Logger } from "@starling/base";
import { type ConfState, type MemoryStorage, noData, type SnapshotMetadata } from "raft-ts";
import { isDiskFull } from "./disk.ts";
import { type NextTurn, pauses } from "./next-turn.ts";
import { encodeSnapshot } from "./snapshot-store/encode-snapshot.ts";
import type { SnapshotStore } from "./snapshot-store/snapshot-store.ts";
import type { Wal } from "./wal/wal.ts";

export interface SnapshotPolicy {
  /** Entries applied between two snapshots. Default 10000 (Swarm's SnapshotInterval). */
  readonly intervalEntries: number;
  /** Entries kept behind a snapshot, for followers that lag a little. Default 500 (LogEntriesForSlowFollowers). */
  readonly keepEntries: number;
}
export const defaultSnapshotPolicy: SnapshotPolicy = { intervalEntries: 10_000, keepEntries: 500 };

/** What it takes to be rid of older data keys. */
export interface Rekeying {
  /** See AppendWorker. */
  dropOlderKeys(mark: SnapshotMetadata): Promise<boolean>;
  /** Nothing on disk needs an older key any more. */
  done(): void;
}

/**
 * Takes snapshots of the applied state off the hot path, and trims the log behind them. While there are files of older data
 * keys, one is due at once: it replaces them all.
 */
export class Snapshotter {
  readonly #wal: Wal;
  readonly #storage: MemoryStorage;
  readonly #store: SnapshotStore;
  readonly #pause: () => Promise<void>;
  #policy: SnapshotPolicy;
  readonly #log: Logger;
  readonly #done: () => void;
  readonly #rekeying: Rekeying;
  /** Applied index from which a snapshot is due because of older keys; undefined when there are none. */
  #rekeyFrom: number | undefined;
  #lastIndex: number;
  #running: Promise<void> | undefined;

  constructor(options: {
    readonly wal: Wal;
    readonly storage: MemoryStorage;
    readonly snapshots: SnapshotStore;
    readonly nextTurn: NextTurn;
    readonly policy: SnapshotPolicy;
    readonly log: Logger;
    /** Index of the newest snapshot, 0 without one. */
    readonly lastIndex: number;
    /** A snapshot is finished; the next may be due already. */
    readonly done: () => void;
    readonly rekeying: Rekeying;
    /** Are there files, or just keys, to get rid of? */
    readonly rekeyDue: boolean;
  }) {
    this.#wal = options.wal;
    this.#storage = options.storage;
    this.#store = options.snapshots;
    this.#pause = pauses(options.nextTurn);
    this.#policy = options.policy;
    this.#log = options.log;
    this.#lastIndex = options.lastIndex;
    this.#done = options.done;
    this.#rekeying = options.rekeying;
    this.#rekeyFrom = options.rekeyDue ? 0 : undefined;
  }

  /** The data key has changed. */
  rekey(): void {
    this.#rekeyFrom = 0;
  }

  /** From now on. */
  setPolicy(policy: Partial<SnapshotPolicy>): void {
    this.#policy = { ...this.#policy, ...policy };
  }

  /** A snapshot came from the leader. */
  installed(index: number): void {
    this.#lastIndex = index;
  }

  /**
   * Starts a snapshot when one is due: after so many entries, or when a member cannot start from the present one. `view`
   * is called at once and must give the state at `applied`, which has `confState`.
   */
  maybeSnapshot(
    applied: number,
    confState: ConfState,
    view: () => {
      readonly metadata: SnapshotMetadata;
      readonly membership: ClusterSnapshot;
      readonly store: Iterable<StoreSnapshot>;
    },
  ): void {
    if (this.#running || applied === 0) return;
    const rekey = this.#rekeyFrom !== undefined && applied >= this.#rekeyFrom;
    const due = applied - this.#lastIndex >= this.#policy.intervalEntries;
    if (!rekey && !due && !this.#strandsNewcomer(confState)) return;
    if (rekey) this.#rekeyFrom = undefined;
    this.#lastIndex = applied;
    const { metadata, membership, store } = view();
    this.#running = this.#save(metadata, membership, store, rekey)
      .catch((thrown: unknown) => {
        if (rekey) this.#rekeyFrom ??= applied + 1;
        // The log goes on growing until the next attempt; nothing is lost.
        const text = isDiskFull(thrown) ? "raft snapshot: disk full" : "raft snapshot failed";
        this.#log.error(`${text}: the log is not trimmed`, { index: metadata.index, error: thrown });
      })
      .finally(() => {
        this.#running = undefined;
        this.#done();
      });
  }

  /** Resolves when no snapshot is being written. */
  async settled(): Promise<void> {
    await this.#running;
  }

  /**
   * Needs a member the snapshot (entries are trimmed), which was taken before it came? Raft gives nobody a snapshot that
   * does not name him: he would stay behind until the next one.
   */
  #strandsNewcomer({ voters, learners }: ConfState): boolean {
    if (this.#storage.firstIndex() === 1) return false;
    const { confState } = this.#storage.snapshot().metadata;
    return [...voters, ...learners].some((id) => !confState.voters.includes(id) && !confState.learners.includes(id));
  }

  async #save(
    metadata: SnapshotMetadata,
    membership: ClusterSnapshot,
    store: Iterable<StoreSnapshot>,
    rekey: boolean,
  ): Promise<void> {
    const chunks = await encodeSnapshot(membership, store, this.#pause);
    await this.#store.save(metadata, chunks);
    const { index } = metadata;
    // A snapshot from the leader may have overtaken this one.
    const newest = this.#storage.snapshot().metadata.index;
    if (newest > index && rekey) this.#rekeyFrom = 0;
    if (newest > index || (newest === index && !rekey)) return;
    if (newest < index) this.#storage.createSnapshot(index, metadata.confState, noData);
    const trimmed = index - this.#policy.keepEntries;
    if (trimmed >= this.#storage.firstIndex()) this.#storage.compact(trimmed);
    const oldest = await this.#store.prune();
    // The log leads on from the older snapshot, too, in case the newer one is damaged.
    await this.#wal.releaseTo(Math.min(oldest, index) - this.#policy.keepEntries);
    this.#log.info("raft snapshot taken", { index, chunks: chunks.length });
    if (rekey) await this.#dropOlderKeys(metadata);
  }

  async #dropOlderKeys(metadata: SnapshotMetadata): Promise<void> {
    if (!(await this.#rekeying.dropOlderKeys(metadata))) {
      this.#rekeyFrom = 0;
      return;
    }
    await this.#store.removeOfOlderKeys({ keep: metadata.index });
    // Rotated once more meanwhile: another round is due, and this round's key is an older one now.
    if (this.#rekeyFrom !== undefined) return;
    this.#log.info("raft data key rotated: nothing is left of the older ones", { index: metadata.index });
    this.#rekeying.done();
  }
}
