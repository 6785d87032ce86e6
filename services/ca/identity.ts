import { join } from "node:path";
import type { NodeTLSInfo } from "@starling/api";
import { managerRole } from "@starling/api/rpc";
import { type Clock, newId, SwarmError } from "@starling/base";
import { keyMatches, type NodeCertificate, readNodeCertificate, tlsInfo } from "./certificate.ts";
import { newCertificateRequest } from "./certificate-request.ts";
import {
  type IdentityFiles,
  isLocked,
  readIdentityFiles,
  readRootKey,
  removeRootKey,
  writeIdentityFiles,
  writeKeyFile,
  writeRoot,
  writeRootKey,
} from "./identity-files.ts";
import { type KeySealing, unsealed } from "./key-file.ts";
import { RootCA } from "./root-ca.ts";

/**
 * What a node has to show: `<state>/certificates` in memory. Changes on renewal; `onChange` tells. A manager's key file also
 * holds its raft data keys and may be locked (`sealing`).
 */
export class NodeIdentity {
  readonly directory: string;
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  /** Replaced as a whole by `replace` and `replaceRoot`. */
  #files: IdentityFiles;
  #certificate: NodeCertificate;
  /** Made when asked for, until the next change. */
  #tlsInfo: NodeTLSInfo | undefined;
  /** Writes one after the other: a renewal and a change of sealing both rewrite the key's file. */
  #writes: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly directory: string;
    readonly files: IdentityFiles;
    readonly clock: Clock;
    readonly allowExpired?: boolean;
  }) {
    this.directory = options.directory;
    this.#clock = options.clock;
    this.#files = options.files;
    this.#certificate = check(options.files, options.clock, options.allowExpired);
  }

  /**
   * The identity on disk; undefined when this node never joined. Throws when it is damaged, of another root, or (unless that is
   * allowed) expired; FailedPrecondition when it is locked and no unlock key is given, InvalidArgument when that is the wrong one.
   */
  static async load(
    stateDir: string,
    clock: Clock,
    unlockKey?: Uint8Array,
    { allowExpired = false }: { readonly allowExpired?: boolean } = {},
  ): Promise<NodeIdentity | undefined> {
    const directory = certificatesDir(stateDir);
    const files = await readIdentityFiles(directory, unlockKey);
    return files && new NodeIdentity({ directory, files, clock, allowExpired });
  }

  /** Does `load` need an unlock key? */
  static isLocked(stateDir: string): Promise<boolean> {
    return isLocked(certificatesDir(stateDir));
  }

  /** Writes `files` as this node's identity, durably, and returns it. Throws as `load`, before writing. */
  static async install(stateDir: string, given: Omit<IdentityFiles, "sealing">, clock: Clock): Promise<NodeIdentity> {
    const files = { ...given, sealing: unsealed };
    const identity = new NodeIdentity({ directory: certificatesDir(stateDir), files, clock });
    await writeIdentityFiles(identity.directory, files);
    return identity;
  }

  get nodeId(): string {
    return this.#certificate.nodeId;
  }

  /** The cluster's id. */
  get organization(): string {
    return this.#certificate.organization;
  }

  /** `swarm-manager` or `swarm-worker`, as the certificate has it. */
  get role(): string {
    return this.#certificate.role;
  }

  get isManager(): boolean {
    return this.role === managerRole;
  }

  get certificate(): NodeCertificate {
    return this.#certificate;
  }

  /** Such a certificate opens no connection: see `returnToCluster`. */
  get hasExpired(): boolean {
    return this.#clock.now() > this.#certificate.notAfter;
  }

  get rootPem(): string {
    return this.#files.rootPem;
  }

  get chainPem(): string {
    return this.#files.chainPem;
  }

  get keyPem(): string {
    return this.#files.keyPem;
  }

  /** As on disk. */
  get sealing(): KeySealing {
    return this.#files.sealing;
  }

  get tlsInfo(): NodeTLSInfo {
    this.#tlsInfo ??= tlsInfo(this.chainPem, this.rootPem);
    return this.#tlsInfo;
  }

  /** Takes a new certificate and key, on disk first. Throws FailedPrecondition when they are not of this root, node and cluster. */
  replace(next: Pick<IdentityFiles, "chainPem" | "keyPem">): Promise<void> {
    return this.#inTurn(() => this.#replace(next));
  }

  async #replace(next: Pick<IdentityFiles, "chainPem" | "keyPem">): Promise<void> {
    const files = { rootPem: this.rootPem, sealing: this.sealing, ...next };
    const certificate = check(files, this.#clock);
    if (certificate.nodeId !== this.nodeId || certificate.organization !== this.organization) {
      throw new SwarmError(
        "FailedPrecondition",
        `new certificate is of node ${certificate.nodeId}, not ${this.nodeId}`,
      );
    }
    await writeIdentityFiles(this.directory, files);
    this.#files = files;
    this.#certificate = certificate;
    this.#tell();
  }

  /** Trusts another bundle of roots (root rotation). Refused when the own certificate would not verify any more. */
  replaceRoot(rootPem: string): Promise<void> {
    return this.#inTurn(() => this.#replaceRoot(rootPem));
  }

  /**
   * Wraps the key's file anew, or changes the data keys in it: `change` gets what it holds now. One rename makes all of it
   * take effect: when this rejects, the file is whole, as before or as changed.
   */
  seal(change: (sealing: KeySealing) => KeySealing): Promise<void> {
    return this.#inTurn(async () => {
      // From disk: this finishes, or forgets, a renewal whose write failed half way.
      const files = await readIdentityFiles(this.directory, this.sealing.kek);
      if (files === undefined) throw new SwarmError("DataLoss", `${this.directory}: the node's certificate is gone`);
      const sealing = change(files.sealing);
      await writeKeyFile(this.directory, { keyPem: files.keyPem, sealing });
      const renewed = files.chainPem !== this.chainPem;
      this.#files = { ...files, sealing };
      if (!renewed) return;
      this.#certificate = check(this.#files, this.#clock, true);
      this.#tell();
    });
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#writes.then(work);
    this.#writes = done.catch(() => undefined); // Its caller is told.
    return done;
  }

  async #replaceRoot(rootPem: string): Promise<void> {
    if (rootPem === this.rootPem) return;
    const files = { ...this.#files, rootPem };
    check(files, this.#clock, true);
    await writeRoot(this.directory, rootPem);
    this.#files = files;
    this.#tell();
  }

  /** Calls `listener` after each change; returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The root's key as the bootstrap left it; undefined once `forgetRootKey` ran, and on nodes that joined. */
  async bootstrapRoot(): Promise<RootCA | undefined> {
    const keyPem = await readRootKey(this.directory);
    return keyPem === undefined ? undefined : RootCA.fromPem({ certificatePem: this.rootPem, keyPem });
  }

  /** To be called when the cluster object, which holds the key from then on, is committed. */
  async forgetRootKey(): Promise<void> {
    await removeRootKey(this.directory);
  }

  #tell(): void {
    this.#tlsInfo = undefined;
    for (const listener of [...this.#listeners]) listener();
  }
}

/**
 * The identity of a cluster's first manager: a new root, a new node id and a new cluster id, signed by itself. The root's
 * key stays on disk until `forgetRootKey`, so that a crash before the first commit costs nothing.
 */
export async function bootstrapIdentity(stateDir: string, clock: Clock): Promise<NodeIdentity> {
  const root = await RootCA.create(clock.now());
  const subject = { nodeId: newId(), role: managerRole, organization: newId() };
  const { csrPem, keyPem } = await newCertificateRequest();
  const chainPem = await root.signRequest(Buffer.from(csrPem), subject, { now: clock.now() });
  await writeRootKey(certificatesDir(stateDir), root.keyPem ?? "");
  return await NodeIdentity.install(stateDir, { rootPem: root.certificatePem, chainPem, keyPem }, clock);
}

export function certificatesDir(stateDir: string): string {
  return join(stateDir, "certificates");
}

function check(files: IdentityFiles, clock: Clock, allowExpired = false): NodeCertificate {
  if (!keyMatches(files.chainPem, files.keyPem)) {
    throw new SwarmError("FailedPrecondition", "node certificate: not issued for this node's key");
  }
  return readNodeCertificate({ chainPem: files.chainPem, rootPem: files.rootPem, now: clock.now(), allowExpired });
}
