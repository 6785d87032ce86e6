import { SwarmError } from "@starling/base";
import type { RaftKeys, RaftNode } from "@starling/raft-node";
import { decodeSnapshotHeader } from "@starling/raft-node/snapshot-format";
import { decodeHeader } from "@starling/raft-node/wal-format";
import type { Chance } from "./chance.ts";
import type { SimDisk } from "./disk.ts";

/**
 * A host's data keys, kept as the manager keeps them: the one in use, and while it is being replaced the one to come,
 * each state on disk before the next is entered. The key file is replaced by one rename: no power cut harms it.
 */
export class SimKeyring {
  readonly #disk: SimDisk;
  readonly #chance: Chance;
  #current: Uint8Array | undefined;
  #pending: Uint8Array | undefined;
  /** A mutant's: older keys are forgotten as soon as there is a newer one. */
  readonly #forgetful: boolean;

  /** With `clear` the log begins unsealed. */
  constructor(options: {
    readonly disk: SimDisk;
    readonly chance: Chance;
    readonly clear: boolean;
    readonly forgetful: boolean;
  }) {
    this.#disk = options.disk;
    this.#chance = options.chance;
    this.#forgetful = options.forgetful;
    this.#current = options.clear ? undefined : this.#newKey();
  }

  /** For a start of raft; undefined as long as nothing was ever sealed. */
  get keys(): RaftKeys | undefined {
    const current = this.#pending ?? this.#current;
    if (current === undefined) return undefined;
    const older = this.#pending !== undefined && this.#current !== undefined && !this.#forgetful;
    return older ? { current, older: [this.#current!] } : { current };
  }

  /** A rotation is under way. */
  get rotating(): boolean {
    return this.#pending !== undefined;
  }

  /** The next key is on disk; the caller tells raft, if it lives so long. */
  begin(): void {
    this.#pending = this.#newKey();
  }

  tell(raft: RaftNode): void {
    if (this.#pending === undefined) return;
    try {
      raft.rotateKey(this.#pending);
    } catch (thrown) {
      // It is stopping: its next start goes on with the rotation.
      if (SwarmError.from(thrown).code !== "Unavailable") throw thrown;
    }
  }

  /** Raft says that older keys are not needed. Returns a file that needs one all the same. */
  retired(fingerprintOf: (key: Uint8Array) => Uint8Array): string | undefined {
    if (this.#pending === undefined) return undefined;
    this.#current = this.#pending;
    this.#pending = undefined;
    const name = Buffer.from(fingerprintOf(this.#current));
    for (const [path, bytes] of this.#disk.durableFiles()) {
      const found = fingerprintIn(path, bytes);
      if (found !== undefined && !name.equals(found)) return path;
    }
    return undefined;
  }

  #newKey(): Uint8Array {
    return Uint8Array.from({ length: 32 }, () => this.#chance.below(256));
  }
}

/** The key that seals a file of the log or a snapshot; undefined for other files and unfinished ones. */
function fingerprintIn(path: string, bytes: Buffer): Uint8Array | undefined {
  if (path.endsWith(".wal")) {
    const decoded = decodeHeader(bytes);
    return decoded.t === "ok" ? decoded.header.keyFingerprint : undefined;
  }
  if (!path.endsWith(".snap")) return undefined;
  const decoded = decodeSnapshotHeader(bytes);
  return decoded.t === "ok" ? decoded.fingerprint : undefined;
}
