import { type Cluster, unlockKeyOf } from "@starling/api";
import { type Clock, type Logger, type Millis, Wakeup } from "@starling/base";
import { type KeySealing, type NodeIdentity, newSealingKey, type RaftDataKeys } from "@starling/ca";
import type { RaftKeys, RaftNode } from "@starling/raft-node";
import type { MemoryStore } from "@starling/store";

const retryMs: Millis = 1_000;

/**
 * The keys with which this manager seals its raft log, and their lock. Follows the cluster object, on every manager: when
 * the unlock key changes, the key file is wrapped anew and the data key rotated.
 *
 * States of the data keys, each durable before the next is entered:
 *   current                     all is sealed with it; left when the unlock key changes
 *   current, pending            raft seals with pending, and replaces what current sealed; left when nothing of that remains
 *   current, pending, needs     as above; the unlock key changed once more, so that another rotation follows
 */
export class RaftKeyring {
  readonly #identity: NodeIdentity;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onLocked: () => void;
  readonly #wakeup = new Wakeup();
  /** What raft runs with; may lag behind the file while a change is under way. */
  #inUse: Uint8Array;
  #retired = false;

  private constructor(options: KeyringOptions & { readonly inUse: Uint8Array }) {
    this.#identity = options.identity;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#onLocked = options.onLocked ?? (() => undefined);
    this.#inUse = options.inUse;
  }

  /** Makes this manager's first data key when it has none, durably. */
  static async open(options: KeyringOptions): Promise<RaftKeyring> {
    const { identity } = options;
    if (identity.sealing.raft === undefined) {
      await identity.seal((sealing) => ({ ...sealing, raft: { current: newSealingKey() } }));
    }
    const { current, pending } = identity.sealing.raft!;
    return new RaftKeyring({ ...options, inUse: pending ?? current });
  }

  /** For the start of raft. */
  get keys(): RaftKeys {
    const { current, pending } = this.#identity.sealing.raft!;
    return pending === undefined ? { current } : { current: pending, older: [current] };
  }

  /** For RaftNodeOptions.onKeysRetired. */
  readonly retired = (): void => {
    this.#retired = true;
    this.#wakeup.wake();
  };

  /** Follows the cluster object until the signal aborts. What fails (a full disk) is tried again. */
  async run(options: {
    readonly store: MemoryStore;
    readonly raft: RaftNode;
    readonly signal: AbortSignal;
  }): Promise<void> {
    const { store, raft, signal } = options;
    const cluster = () => store.view((tx) => tx.clusters.get(this.#identity.organization));
    const unsubscribe = this.#wakeOnChange(store, signal);
    try {
      for (;;) {
        try {
          await this.#follow(cluster());
          await this.#advance(raft);
        } catch (error) {
          if (signal.aborted) return;
          this.#log.warn("raft keys not changed, trying again", { error });
          await this.#clock.sleep(retryMs, signal);
          continue;
        }
        await this.#wakeup.wait(signal);
      }
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
    } finally {
      await unsubscribe;
    }
  }

  async #wakeOnChange(store: MemoryStore, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        this.#wakeup.wake();
        for await (const _ of store.watch({ kinds: ["cluster"], signal })) this.#wakeup.wake();
      } catch (error) {
        // Aborted, or the watch lagged behind: then it is opened again, and the state looked at.
        if (!signal.aborted) this.#log.debug("raft keys: watch starts over", { error });
      }
    }
  }

  /** One write makes the new lock hold and demands a rotation: what the old lock protected may be known. */
  async #follow(cluster: Cluster | undefined): Promise<void> {
    if (cluster === undefined || !isNews(this.#identity.sealing, cluster)) return;
    const kek = unlockKeyOf(cluster);
    const wasLocked = this.#identity.sealing.kek !== undefined;
    await this.#identity.seal((sealing) => {
      const raft: RaftDataKeys = { ...sealing.raft!, needsRotation: true };
      return { kek, kekVersion: cluster.meta.version.index, raft };
    });
    const state = kek === undefined ? "unlocked" : wasLocked ? "locked with a new unlock key" : "locked";
    this.#log.info(`keys of this manager are ${state}`, { "cluster.version": cluster.meta.version.index });
    if (kek !== undefined && !wasLocked) this.#onLocked();
  }

  async #advance(raft: RaftNode): Promise<void> {
    const { current, pending, needsRotation } = this.#identity.sealing.raft!;
    if (pending !== undefined && this.#retired && sameBytes(pending, this.#inUse)) {
      await this.#set({ current: pending, ...(needsRotation && { needsRotation }) });
      this.#retired = false;
      return await this.#advance(raft);
    }
    if (pending === undefined && needsRotation) {
      await this.#set({ current, pending: newSealingKey() });
    }
    const next = this.#identity.sealing.raft!;
    const wanted = next.pending ?? next.current;
    if (sameBytes(wanted, this.#inUse)) return;
    this.#retired = false;
    raft.rotateKey(wanted);
    this.#inUse = wanted;
  }

  #set(raft: RaftDataKeys): Promise<void> {
    return this.#identity.seal((sealing) => ({ ...sealing, raft }));
  }
}

export interface KeyringOptions {
  readonly identity: NodeIdentity;
  readonly clock: Clock;
  readonly log: Logger;
  /** The keys, which lay in the clear before, are locked now: time for a new TLS key. */
  readonly onLocked?: (() => void) | undefined;
}

/** Not the same lock, and not one from before the present one: a restart replays the cluster's past. */
function isNews({ kek, kekVersion }: KeySealing, cluster: Cluster): boolean {
  const wanted = unlockKeyOf(cluster);
  const same = wanted === undefined || kek === undefined ? wanted === kek : sameBytes(wanted, kek);
  return !same && cluster.meta.version.index > kekVersion;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
