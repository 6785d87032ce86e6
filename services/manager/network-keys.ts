import { randomBytes } from "node:crypto";
import { type Cluster, EncryptionKey, EncryptionKey_Algorithm } from "@starling/api";
import type { Clock, Logger, Millis, Random } from "@starling/base";
import { all, type MemoryStore } from "@starling/store";

/** Whose keys they are: Docker's engines, when they join, talk to one another with them. Our own nodes need none. */
const subsystems = ["networking:gossip", "networking:ipsec"];
const keyBytes = 16;
/** The newest encrypts, all decrypt: so nodes that hear late of a new one understand the others. */
const keysOfSubsystem = 3;
const rotateEveryMs: Millis = 12 * 3_600_000;
/** The first key's time is random below this, so that keys of a cluster made anew are not taken for older ones. */
const firstTimeBelow = 65_536;

type Keys = Pick<Cluster, "networkBootstrapKeys" | "encryptionKeyLamportClock">;

/** One more key for each subsystem; the oldest beyond three go. */
export function withNewKeys(before: Keys, newKey: () => Uint8Array, random: Random): Keys {
  const isFirst = before.networkBootstrapKeys.length === 0;
  let time = isFirst ? Math.floor(random() * firstTimeBelow) : before.encryptionKeyLamportClock;
  const keys = subsystems.flatMap((subsystem) => {
    const known = before.networkBootstrapKeys
      .filter((key) => key.subsystem === subsystem)
      .toSorted((a, b) => b.lamportTime - a.lamportTime);
    time++;
    const algorithm = EncryptionKey_Algorithm.AES_128_GCM;
    const made = EncryptionKey.create({ subsystem, algorithm, key: newKey(), lamportTime: time });
    return [made, ...known.slice(0, keysOfSubsystem - 1)];
  });
  return { networkBootstrapKeys: keys, encryptionKeyLamportClock: time };
}

/** A leader's loop: the cluster has such keys from its first leader on, and new ones each 12 h. */
export function createNetworkKeyManager(options: {
  readonly store: MemoryStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}): { run(signal: AbortSignal): Promise<void> } {
  const { store, clock, random } = options;
  const log = options.log.with({ station: "network-keys" });
  const rotate = (when: (cluster: Cluster) => boolean) =>
    store.update((tx) => {
      for (const cluster of tx.clusters.find(all)) {
        if (when(cluster))
          tx.clusters.update({ ...cluster, ...withNewKeys(cluster, () => randomBytes(keyBytes), random) });
      }
    });
  return {
    async run(signal) {
      await rotate(({ networkBootstrapKeys }) => networkBootstrapKeys.length === 0);
      while (!signal.aborted) {
        await clock.sleep(rotateEveryMs, signal).catch(() => undefined); // Aborted: the loop ends.
        if (signal.aborted) return;
        await rotate(() => true);
        log.info("network keys rotated");
      }
    },
  };
}
