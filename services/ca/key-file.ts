import { createCipheriv, createDecipheriv, createPrivateKey, randomBytes } from "node:crypto";
import { unlockKeyBytes } from "@starling/api";
import { SwarmError } from "@starling/base";

// swarm-node.key is one PEM block, as Swarm's: the node's TLS key (PKCS #8), with a manager's raft data keys in its headers.
// One file, so that one rename changes how all of them are wrapped. Once a key encryption key (the unlock key) is set, the
// TLS key is an ENCRYPTED PRIVATE KEY and the data keys are sealed with AES-256-GCM: nonce 12 | sealed | tag 16, the header's
// name being authenticated with them. Data keys are base64. A key file without headers is just a TLS key.

const formatVersion = 1;
const header = {
  version: "starling-key-file",
  kekVersion: "kek-version",
  current: "raft-dek",
  pending: "raft-dek-pending",
  needsRotation: "raft-dek-needs-rotation",
} as const;

/** Data keys of this manager's raft log, 32 bytes each. */
export interface RaftDataKeys {
  readonly current: Uint8Array;
  /** Seals all that is new; takes the place of `current` once nothing is left that `current` sealed. */
  readonly pending?: Uint8Array | undefined;
  /** Another rotation is due, after the one under way. */
  readonly needsRotation?: boolean;
}

/** What a manager's key file holds besides the TLS key, and under what it is locked. */
export interface KeySealing {
  /** Key encryption key: the cluster's unlock key. Undefined: the file is in the clear. */
  readonly kek?: Uint8Array | undefined;
  /** Version of the cluster object that asked for `kek`, or for none; 0 when it never did. */
  readonly kekVersion: number;
  /** None on workers. */
  readonly raft?: RaftDataKeys | undefined;
}

/** A worker's, and what a manager begins with. */
export const unsealed: KeySealing = { kekVersion: 0 };

export interface KeyFile {
  /** PKCS #8 in the clear. */
  readonly keyPem: string;
  readonly sealing: KeySealing;
}

export function encodeKeyFile({ keyPem, sealing }: KeyFile): string {
  const { kek, kekVersion, raft } = sealing;
  const headers: string[] = [];
  if (kek !== undefined || kekVersion > 0 || raft !== undefined) {
    headers.push(`${header.version}: ${formatVersion}`, `${header.kekVersion}: ${kekVersion}`);
  }
  if (raft) {
    headers.push(`${header.current}: ${wrap(raft.current, header.current, kek)}`);
    if (raft.pending) headers.push(`${header.pending}: ${wrap(raft.pending, header.pending, kek)}`);
    if (raft.needsRotation) headers.push(`${header.needsRotation}: true`);
  }
  const pem = kek === undefined ? keyPem : encryptKey(keyPem, kek);
  const [begin = "", ...rest] = pem.trim().split("\n");
  return `${[begin, ...headers, ...(headers.length > 0 ? [""] : []), ...rest].join("\n")}\n`;
}

/** Does this key file need an unlock key? */
export function isLockedKeyFile(text: string): boolean {
  return text.includes("-----BEGIN ENCRYPTED PRIVATE KEY-----");
}

/**
 * Reads a key file, with the unlock key if it is locked (one that is not is read whatever `kek` is). Throws InvalidArgument
 * for a wrong unlock key, FailedPrecondition for a newer format, DataLoss for a damaged file.
 */
export function decodeKeyFile(text: string, kek: Uint8Array | undefined): KeyFile {
  const { headers, pem } = splitPem(text);
  const version = Number(headers.get(header.version) ?? formatVersion);
  if (version > formatVersion) {
    throw new SwarmError(
      "FailedPrecondition",
      `key file has format ${version}, newer than ${formatVersion}: update swarmd`,
    );
  }
  const locked = isLockedKeyFile(text);
  if (locked && kek?.length !== unlockKeyBytes) throw wrongKey();
  const lock = locked ? kek : undefined;
  const keyPem = lock === undefined ? pem : decryptKey(pem, lock);
  const unwrapped = (name: string) => {
    const value = headers.get(name);
    return value === undefined ? undefined : unwrap(value, name, lock);
  };
  const [current, pending] = [unwrapped(header.current), unwrapped(header.pending)];
  return {
    keyPem,
    sealing: {
      kek: lock,
      kekVersion: Number(headers.get(header.kekVersion) ?? 0),
      raft: current && { current, pending, needsRotation: headers.get(header.needsRotation) === "true" },
    },
  };
}

/** A new unlock or data key. */
export function newSealingKey(): Uint8Array {
  return new Uint8Array(randomBytes(unlockKeyBytes));
}

function splitPem(text: string): { readonly headers: ReadonlyMap<string, string>; readonly pem: string } {
  const lines = text.trim().split(/\r?\n/);
  const headers = new Map<string, string>();
  const body: string[] = [];
  for (const line of lines) {
    const at = line.indexOf(": ");
    if (at > 0 && !line.startsWith("-----")) headers.set(line.slice(0, at), line.slice(at + 2));
    else if (line !== "") body.push(line);
  }
  return { headers, pem: `${body.join("\n")}\n` };
}

function encryptKey(keyPem: string, kek: Uint8Array): string {
  const passphrase = Buffer.from(kek);
  return createPrivateKey(keyPem)
    .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase })
    .toString();
}

function decryptKey(pem: string, kek: Uint8Array): string {
  try {
    const key = createPrivateKey({ key: pem, format: "pem", passphrase: Buffer.from(kek) });
    return key.export({ type: "pkcs8", format: "pem" }).toString();
  } catch (cause) {
    throw wrongKey(cause);
  }
}

function wrap(key: Uint8Array, name: string, kek: Uint8Array | undefined): string {
  if (kek === undefined) return Buffer.from(key).toString("base64");
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", kek, nonce).setAAD(Buffer.from(name));
  return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()]).toString("base64");
}

function unwrap(text: string, name: string, kek: Uint8Array | undefined): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  if (bytes.length !== (kek === undefined ? 32 : 60)) {
    throw new SwarmError("DataLoss", `key file: ${name} has ${bytes.length} bytes: restore the file from a backup`);
  }
  if (kek === undefined) return new Uint8Array(bytes);
  const decipher = createDecipheriv("aes-256-gcm", kek, bytes.subarray(0, 12)).setAAD(Buffer.from(name));
  decipher.setAuthTag(bytes.subarray(44));
  try {
    return new Uint8Array(Buffer.concat([decipher.update(bytes.subarray(12, 44)), decipher.final()]));
  } catch (cause) {
    throw wrongKey(cause);
  }
}

function wrongKey(cause?: unknown): SwarmError {
  const text = "invalid unlock key: it is not the key that locks this manager; it may have been rotated since";
  return new SwarmError("InvalidArgument", text, { cause });
}
