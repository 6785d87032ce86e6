import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { SwarmError } from "@starling/base";
import { keyMatches } from "./certificate.ts";

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
}

/**
 * The pair that was written last, finishing a write that was cut short. Undefined when this node has no identity yet.
 * Throws DataLoss naming the file when a part is missing or key and certificate do not belong together.
 */
export async function readIdentityFiles(directory: string): Promise<IdentityFiles | undefined> {
  const [rootPem, chainPem, keyPem, nextKeyPem] = await Promise.all(
    [rootFile, certificateFile, keyFile, nextKeyFile].map((name) => readIfThere(join(directory, name))),
  );
  if (chainPem === undefined) return undefined;
  if (rootPem === undefined) throw damaged(directory, rootFile, "is missing");
  if (keyPem !== undefined && keyMatches(chainPem, keyPem)) return { rootPem, chainPem, keyPem };
  if (nextKeyPem !== undefined && keyMatches(chainPem, nextKeyPem)) {
    await rename(join(directory, nextKeyFile), join(directory, keyFile));
    return { rootPem, chainPem, keyPem: nextKeyPem };
  }
  throw damaged(directory, keyFile, keyPem === undefined ? "is missing" : `is not the key of ${certificateFile}`);
}

/** Order: root, new key aside, certificate, key. Each step is synced before the next. */
export async function writeIdentityFiles(directory: string, files: IdentityFiles): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeSynced(directory, rootFile, files.rootPem);
  await writeSynced(directory, nextKeyFile, files.keyPem);
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

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
