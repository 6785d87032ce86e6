import type { ClusterSnapshot, StoreSnapshot } from "@starling/api";
import type { Clock, Logger, Millis, Timer } from "@starling/base";
import { type ConfState, type MemoryStorage, noData, type SnapshotMetadata } from "raft-ts";
import { isDiskFull } from "./disk.ts";
import { type NextTurn, pauses } from "./next-turn.ts";
import { encodeSnapshot } from "./snapshot-store/encode-snapshot.ts";
import type { SnapshotStore } from "./snapshot-store/snapshot-store.ts";
import type { Wal } from "./wal/wal.ts";

export interface SnapshotPolicy {
  /** Entries applied between two snapshots; 0: only `intervalBytes` counts. Default 10000 (Swarm's SnapshotInterval). */
  readonly intervalEntries: number;
  /** Bytes of entries applied between two snapshots, or a snapshot's size where that is more. Default 64 MiB. */
  readonly intervalBytes: number;
  /** Entries kept behind a snapshot, for followers that lag a little. Default 500 (LogEntriesForSlowFollowers). */
  readonly keepEntries: number;
  /** At most so many bytes of them. Default 16 MiB. */
  readonly keepBytes: number;
  /** Snapshot files kept besides the newest two (Swarm's KeepOldSnapshots counts from the newest one). Default 0. */
  readonly keepOldSnapshots: number;
}
const mebibyte = 1024 * 1024;
export const defaultSnapshotPolicy: SnapshotPolicy = {
  intervalEntries: 10_000,
  intervalBytes: 64 * mebibyte,
  keepEntries: 500,
  keepBytes: 16 * mebibyte,
  keepOldSnapshots: 0,
};

/** Between a failed snapshot and the next attempt. */
const retryMs: Millis = 2_000;

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
  /** Of the entries applied since then. */
  #bytes = 0;
  /** Size of the newest snapshot taken here. */
  #snapshotBytes = 0;
  #running: Promise<void> | undefined;
  /** Runs after a failure; nothing is tried before it fires. */
  #retry: Timer | undefined;
  readonly #clock: Clock;

  constructor(options: {
    readonly wal: Wal;
    readonly storage: MemoryStorage;
    readonly snapshots: SnapshotStore;
    readonly nextTurn: NextTurn;
    readonly clock: Clock;
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
    this.#clock = options.clock;
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
    this.#bytes = 0;
  }

  /** An entry with so many bytes of data was applied. */
  applied(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Entries from before the newest snapshot that nobody needs: a start reads as many as the files hold. */
  trimOld(): void {
    this.#trim(this.#storage.snapshot().metadata.index);
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
    if (this.#running || this.#retry || applied === 0) return;
    const rekey = this.#rekeyFrom !== undefined && applied >= this.#rekeyFrom;
    if (!rekey && !this.#isDue(applied) && !this.#strandsNewcomer(confState)) return;
    if (rekey) this.#rekeyFrom = undefined;
    this.#lastIndex = applied;
    this.#bytes = 0;
    const { metadata, membership, store } = view();
    this.#running = this.#save(metadata, membership, store, rekey)
      .catch((thrown: unknown) => {
        if (rekey) this.#rekeyFrom ??= 0;
        this.#retry = this.#clock.setTimer(retryMs, () => {
          this.#retry = undefined;
          this.#done();
        });
        // The log goes on growing until the next attempt; nothing is lost.
        const text = isDiskFull(thrown) ? "raft snapshot: disk full" : "raft snapshot failed";
        this.#log.error(`${text}: the log is not trimmed`, { index: metadata.index, error: thrown });
      })
      .finally(() => {
        this.#running = undefined;
        this.#done();
      });
  }

  /** Resolves when no snapshot is being written. For the end: nothing is tried again. */
  async settled(): Promise<void> {
    await this.#running;
    this.#retry?.cancel();
  }

  #isDue(applied: number): boolean {
    const { intervalEntries, intervalBytes } = this.#policy;
    if (intervalEntries > 0 && applied - this.#lastIndex >= intervalEntries) return true;
    return this.#bytes >= Math.max(intervalBytes, this.#snapshotBytes);
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
    this.#snapshotBytes = chunks.reduce((sum, { length }) => sum + length, 0);
    this.#trim(index);
    const oldest = await this.prune();
    // The log leads on from the older snapshot, too, in case the newer one is damaged.
    await this.#wal.releaseTo(Math.min(oldest, index) - this.#policy.keepEntries);
    this.#log.info("raft snapshot taken", { index, chunks: chunks.length });
    if (rekey) await this.#dropOlderKeys(metadata);
  }

  /** See SnapshotStore. */
  prune(): Promise<number> {
    return this.#store.prune(2 + this.#policy.keepOldSnapshots);
  }

  /** Forgets the entries that the snapshot at `index` covers, but for those that slow followers may want. */
  #trim(index: number): void {
    const { keepEntries, keepBytes } = this.#policy;
    const first = this.#storage.firstIndex();
    let trimmed = Math.max(index - keepEntries, first - 1);
    const kept = trimmed < index ? this.#storage.entries(trimmed + 1, index + 1, Number.MAX_SAFE_INTEGER) : [];
    let bytes = kept.reduce((sum, { data }) => sum + data.length, 0);
    for (let i = 0; i < kept.length && bytes > keepBytes; i++) {
      bytes -= kept[i]!.data.length;
      trimmed = kept[i]!.index;
    }
    if (trimmed >= first) this.#storage.compact(trimmed);
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
