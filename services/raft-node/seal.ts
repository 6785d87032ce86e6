import { createCipheriv, createDecipheriv, createHash, createSecretKey, randomBytes } from "node:crypto";
import { SwarmError } from "@starling/base";

/** Encryption of what raft writes to disk: the log and snapshots hold secrets. */
export interface Sealer {
  /** 16 bytes that name the key without telling it; zeros stand for "not sealed". */
  readonly fingerprint: Uint8Array;
  seal(plain: Uint8Array): Uint8Array;
  /** Throws SwarmError DataLoss when `sealed` was not made by `seal` with this key. */
  open(sealed: Uint8Array): Uint8Array;
}

/** The keys of one node: new data is sealed with `current`, older data may need one of `older`. */
export interface RaftKeys {
  /** 32 bytes. */
  readonly current: Uint8Array;
  readonly older?: readonly Uint8Array[];
}

/** No key: bytes go to disk as they are. */
export const plainSealer: Sealer = {
  fingerprint: new Uint8Array(16),
  seal: (plain) => plain,
  open: (sealed) => sealed,
};

const nonceBytes = 12;
const tagBytes = 16;

/** AES-256-GCM with a random nonce in front and the tag behind. Throws InvalidArgument unless `key` has 32 bytes. */
export function aesSealer(key: Uint8Array): Sealer {
  if (key.length !== 32) {
    throw new SwarmError("InvalidArgument", `raft data key has ${key.length} bytes: it must have 32`);
  }
  const fingerprint = createHash("sha256").update("starling raft data key\0").update(key).digest().subarray(0, 16);
  // Imported once: from bytes OpenSSL would do so for each entry of the log.
  const secret = createSecretKey(key);
  return {
    fingerprint,
    seal(plain) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", secret, nonce);
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
    open(sealed) {
      const end = sealed.length - tagBytes;
      if (end < nonceBytes) throw new SwarmError("DataLoss", `${sealed.length} bytes are no sealed data`);
      const decipher = createDecipheriv("aes-256-gcm", secret, sealed.subarray(0, nonceBytes));
      decipher.setAuthTag(sealed.subarray(end));
      try {
        return Buffer.concat([decipher.update(sealed.subarray(nonceBytes, end)), decipher.final()]);
      } catch (cause) {
        throw new SwarmError("DataLoss", "sealed data fails its authentication", { cause });
      }
    },
  };
}

/**
 * One key seals, the older ones still open. Picks the sealer for a file by the fingerprint in its header. Who writes a file
 * takes `current` once, since it may change meanwhile.
 */
export class SealerRing {
  #current: Sealer;
  #older: readonly Sealer[];

  constructor(keys?: RaftKeys) {
    this.#current = keys === undefined ? plainSealer : aesSealer(keys.current);
    this.#older = (keys?.older ?? []).map(aesSealer);
  }

  get current(): Sealer {
    return this.#current;
  }

  /** Are there older keys to get rid of? */
  get rotating(): boolean {
    return this.#older.length > 0;
  }

  /** Seals with `key` from now on. Throws InvalidArgument unless it has 32 bytes. */
  rotate(key: Uint8Array): void {
    const next = aesSealer(key);
    if (this.isCurrent(next.fingerprint)) return;
    this.#older = [this.#current, ...this.#older];
    this.#current = next;
  }

  /** Nothing is left that older keys than `current` sealed. */
  retireOlder(): void {
    this.#older = [];
  }

  isCurrent(fingerprint: Uint8Array): boolean {
    return Buffer.compare(fingerprint, this.#current.fingerprint) === 0;
  }

  /** Throws FailedPrecondition when the key is not among those given. */
  byFingerprint(fingerprint: Uint8Array, file: string): Sealer {
    const known = [this.#current, plainSealer, ...this.#older];
    const found = known.find((sealer) => Buffer.compare(sealer.fingerprint, fingerprint) === 0);
    if (found) return found;
    const name = Buffer.from(fingerprint).toString("hex");
    throw new SwarmError(
      "FailedPrecondition",
      `${file} is sealed with key ${name}, which was not given: unlock with it`,
    );
  }
}
