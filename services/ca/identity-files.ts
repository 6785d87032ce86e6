import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { lockedMessage } from "@starling/api";
import { SwarmError } from "@starling/base";
import { keyMatches } from "./certificate.ts";
import { decodeKeyFile, encodeKeyFile, isLockedKeyFile, type KeyFile, type KeySealing } from "./key-file.ts";

/** File names as Swarm's, so that an operator finds what they know. All in `<state>/certificates`, mode 0600. */
const rootFile = "swarm-root-ca.crt";
const certificateFile = "swarm-node.crt";
const keyFile = "swarm-node.key";
/** The root's key, only between the bootstrap of a first manager and the commit of its cluster object. */
const rootKeyFile = "swarm-root-ca.key";
/** A new key waits here until its certificate is in place, so that a crash between the two loses neither pair. */
const nextKeyFile = "swarm-node.key.next";

export interface IdentityFiles {
  readonly rootPem: string;
  readonly chainPem: string;
  readonly keyPem: string;
  /** What else the key's file holds. */
  readonly sealing: KeySealing;
}

/** Does it take the unlock key to read the identity? */
export async function isLocked(directory: string): Promise<boolean> {
  const files = await Promise.all([keyFile, nextKeyFile].map((name) => readIfThere(join(directory, name))));
  return files.some((text) => text !== undefined && isLockedKeyFile(text));
}

/**
 * The pair that was written last, finishing a write that was cut short; no other key file is left behind. Undefined when
 * this node has no identity yet. Throws DataLoss naming the file when a part is missing or key and certificate do not
 * belong together; FailedPrecondition when the key is locked and `kek` is undefined, InvalidArgument when that is wrong.
 */
export async function readIdentityFiles(directory: string, kek?: Uint8Array): Promise<IdentityFiles | undefined> {
  const [rootPem, chainPem, keyText, nextKeyText] = await Promise.all(
    [rootFile, certificateFile, keyFile, nextKeyFile].map((name) => readIfThere(join(directory, name))),
  );
  if (chainPem === undefined) return undefined;
  if (rootPem === undefined) throw damaged(directory, rootFile, "is missing");
  if (kek === undefined && [keyText, nextKeyText].some((text) => text !== undefined && isLockedKeyFile(text))) {
    throw new SwarmError("FailedPrecondition", lockedMessage);
  }
  const key = keyText === undefined ? undefined : decodeKeyFile(keyText, kek);
  if (key && keyMatches(chainPem, key.keyPem)) {
    if (nextKeyText !== undefined) await removeSynced(directory, nextKeyFile);
    return { rootPem, chainPem, ...key };
  }
  const nextKey = nextKeyText === undefined ? undefined : decodeKeyFile(nextKeyText, kek);
  if (nextKey && keyMatches(chainPem, nextKey.keyPem)) {
    await rename(join(directory, nextKeyFile), join(directory, keyFile));
    await syncDirectory(directory);
    return { rootPem, chainPem, ...nextKey };
  }
  throw damaged(directory, keyFile, keyText === undefined ? "is missing" : `is not the key of ${certificateFile}`);
}

/** Replaces the key's file, in one step. */
export async function writeKeyFile(directory: string, file: KeyFile): Promise<void> {
  await writeSynced(directory, keyFile, encodeKeyFile(file));
}

/** Order: root, new key aside, certificate, key. Each step is synced before the next. */
export async function writeIdentityFiles(directory: string, files: IdentityFiles): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeSynced(directory, rootFile, files.rootPem);
  await writeSynced(directory, nextKeyFile, encodeKeyFile(files));
  await writeSynced(directory, certificateFile, files.chainPem);
  await rename(join(directory, nextKeyFile), join(directory, keyFile));
  await syncDirectory(directory);
}

export async function writeRoot(directory: string, rootPem: string): Promise<void> {
  await writeSynced(directory, rootFile, rootPem);
}

export async function readRootKey(directory: string): Promise<string | undefined> {
  return await readIfThere(join(directory, rootKeyFile));
}

export async function writeRootKey(directory: string, keyPem: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeSynced(directory, rootKeyFile, keyPem);
}

export async function removeRootKey(directory: string): Promise<void> {
  await rm(join(directory, rootKeyFile), { force: true });
}

function damaged(directory: string, name: string, what: string): SwarmError {
  return new SwarmError(
    "DataLoss",
    `${join(directory, name)} ${what}: restore it, or remove ${directory} and join again`,
  );
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw thrown;
  }
}

async function writeSynced(directory: string, name: string, content: string): Promise<void> {
  const temporary = join(directory, `.${name}.tmp`);
  const file = await open(temporary, "w", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(directory, name));
  await syncDirectory(directory);
}

async function removeSynced(directory: string, name: string): Promise<void> {
  await rm(join(directory, name), { force: true });
  await syncDirectory(directory);
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
