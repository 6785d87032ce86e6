/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base/errors";
import { type Cluster, EncryptionKey } from "./gen/messages.js";

const prefix = "SWMKEY-1-";
/** EncryptionKey.subsystem of the key that locks managers. */
const managers = "swarm-manager";
export const unlockKeyBytes = 32;

/** What every call on a manager that waits for its unlock key is answered, in Swarm's words. */
export const lockedMessage = "Swarm is encrypted and needs to be unlocked before it can be used. Run `swarmctl unlock`";

/** The text form of an unlock key: base64 without padding behind SWMKEY-1- (Swarm: encryption.HumanReadableKey). */
export function formatUnlockKey(key: Uint8Array): string {
  return `${prefix}${Buffer.from(key).toString("base64").replace(/=+$/, "")}`;
}

/** The key that locks managers; undefined while autolock is off. */
export function unlockKeyOf({ spec, unlockKeys }: Pick<Cluster, "spec" | "unlockKeys">): Uint8Array | undefined {
  if (!spec.encryptionConfig.autoLockManagers) return undefined;
  return unlockKeys.find(({ subsystem }) => subsystem === managers)?.key;
}

/** `keys` with `key` (none: without one) in the place of the one that locks managers. */
export function withUnlockKey(keys: readonly EncryptionKey[], key: Uint8Array | undefined): readonly EncryptionKey[] {
  const others = keys.filter(({ subsystem }) => subsystem !== managers);
  return key === undefined ? others : [...others, EncryptionKey.create({ subsystem: managers, key })];
}

/** Throws InvalidArgument for anything that is not an unlock key; the text itself is kept out of the message. */
export function parseUnlockKey(text: string): Uint8Array {
  const body = text.trim();
  const encoded = body.startsWith(prefix) ? body.slice(prefix.length) : "";
  const key = Buffer.from(encoded, "base64");
  if (key.length !== unlockKeyBytes || formatUnlockKey(key) !== body) {
    throw new SwarmError(
      "InvalidArgument",
      `invalid unlock key: expected ${prefix}… as \`swarmctl cluster unlock-key\` prints it`,
    );
  }
  return new Uint8Array(key);
}
