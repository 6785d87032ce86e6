import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import * as x509 from "@peculiar/x509";
import {
  Health,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
  Node,
  Raft,
  RaftMembership,
  RaftPeer,
  StoreAction,
  StoreActionKind,
  StoreSnapshot,
} from "@starling/api";
import { addService } from "@starling/api/rpc";
import { type Logger, nullLogger, type SwarmError, systemClock, systemRandom } from "@starling/base";
import type { StateMachine, StateRestore } from "@starling/store";
import type { Files } from "./disk.ts";
import { machineHost } from "./host.ts";
import type { RaftNodeOptions } from "./options.ts";
import { RaftNode } from "./raft-node.ts";

// Raft groups in one process, over real TLS on the loopback. For tests and benches only.

const organization = "test-cluster";
/** In every certificate: an address is none that TLS may ask for. */
const serverName = "raft-manager";
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/** A test's authority: issues managers' certificates. */
export class TestCa {
  readonly #keys: webcrypto.CryptoKeyPair;
  readonly #certificate: x509.X509Certificate;

  private constructor(keys: webcrypto.CryptoKeyPair, certificate: x509.X509Certificate) {
    this.#keys = keys;
    this.#certificate = certificate;
  }

  static async create(): Promise<TestCa> {
    x509.cryptoProvider.set(webcrypto as never);
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const extensions = [new x509.BasicConstraintsExtension(true, undefined, true)];
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: "CN=test-ca",
      keys: keys as webcrypto.CryptoKeyPair,
      signingAlgorithm: algorithm,
      extensions,
      ...validity(),
    });
    return new TestCa(keys as webcrypto.CryptoKeyPair, certificate);
  }

  /** PEMs of a manager's identity. */
  async issue(nodeId: string): Promise<Pem> {
    const keys = (await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
    const certificate = await x509.X509CertificateGenerator.create({
      subject: `CN=${nodeId}, OU=swarm-manager, O=${organization}`,
      issuer: this.#certificate.subject,
      signingKey: this.#keys.privateKey,
      publicKey: keys.publicKey,
      signingAlgorithm: algorithm,
      extensions: [new x509.SubjectAlternativeNameExtension([{ type: "dns", value: serverName }])],
      ...validity(),
    });
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
    return {
      ca: Buffer.from(this.#certificate.toString("pem")),
      cert: Buffer.from(certificate.toString("pem")),
      key: Buffer.from(`-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`),
    };
  }
}

export interface Pem {
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** For the streams to other managers of the same authority. */
export function testCredentials({ ca, cert, key }: Pem): grpc.ChannelCredentials {
  const credentials = grpc.credentials.createSsl(ca, key, cert);
  const connect = credentials._createSecureConnector.bind(credentials);
  credentials._createSecureConnector = (target, options, call) =>
    connect(target, { ...options, "grpc.ssl_target_name_override": serverName }, call);
  return credentials;
}

function validity(): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 30 * 86_400_000) };
}

/** A state machine that keeps the ids of the nodes created in it. */
export class TestMachine implements StateMachine {
  applied: string[] = [];
  abandoned = 0;

  applyActions(actions: readonly StoreAction[]): void {
    for (const { node } of actions) if (node) this.applied.push(node.id);
  }
  reached(): void {}
  abandonInFlight(): void {
    this.abandoned++;
  }
  snapshotParts(): StoreSnapshot[] {
    return [StoreSnapshot.create({ nodes: this.applied.map((id) => Node.create({ id })) })];
  }
  beginRestore(): StateRestore {
    const applied: string[] = [];
    return {
      add: ({ nodes }) => void applied.push(...nodes.map(({ id }) => id)),
      finish: async () => {
        this.applied = applied;
      },
    };
  }
}

/** A transaction that creates node `id`, with `bytes` of ballast. */
export function createNode(id: string, bytes = 0): StoreAction[] {
  const node = Node.create({ id, certificate: { ...Node.create().certificate, csr: new Uint8Array(bytes) } });
  return [StoreAction.create({ action: StoreActionKind.STORE_ACTION_CREATE, node })];
}

/** One manager with a server of its own; `raft` is replaced by a restart. */
export class TestManager {
  readonly nodeId: string;
  readonly machine = new TestMachine();
  readonly leadership: boolean[] = [];
  fatal: SwarmError | undefined;
  removed = false;
  raft!: RaftNode;
  server!: grpc.Server;
  addr = "127.0.0.1:0";

  /** Its disk, where that is not the machine's. */
  readonly files: Files | undefined;

  constructor(nodeId: string, files?: Files) {
    this.nodeId = nodeId;
    this.files = files;
  }

  /** Proposes node `id` and takes it into the machine when it is committed. */
  propose(id: string, bytes = 0): Promise<void> {
    return this.raft.propose(createNode(id, bytes), () => void this.machine.applied.push(id));
  }
}

/** The managers of one test. */
export class TestGroup {
  readonly ca: TestCa;
  readonly dir: string;
  readonly managers: TestManager[] = [];
  readonly log: Logger;
  readonly #options: Partial<RaftNodeOptions>;

  private constructor(ca: TestCa, dir: string, log: Logger, options: Partial<RaftNodeOptions>) {
    this.ca = ca;
    this.dir = dir;
    this.log = log;
    this.#options = options;
  }

  static async create(
    options: Partial<RaftNodeOptions> = {},
    log: Logger = nullLogger,
    ca?: TestCa,
  ): Promise<TestGroup> {
    return new TestGroup(ca ?? (await TestCa.create()), await mkdtemp(join(tmpdir(), "starling-raft-")), log, options);
  }

  /** Starts a manager; the first makes the cluster, others join through the first one that runs. */
  async add(nodeId: string, files?: Files): Promise<TestManager> {
    const manager = new TestManager(nodeId, files);
    const remote = this.managers.find((other) => other.raft.isLeader)?.addr;
    this.managers.push(manager);
    await this.start(manager, remote);
    return manager;
  }

  /** Starts a manager's server and raft, on the port and state that it had if it ran before. */
  async start(manager: TestManager, remote?: string): Promise<void> {
    const { nodeId } = manager;
    const pem = await this.ca.issue(nodeId);
    const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
    const credentials = grpc.ServerCredentials.createSsl(
      pem.ca,
      [{ private_key: pem.key, cert_chain: pem.cert }],
      true,
    );
    manager.server = server;
    const serving = async () => HealthCheckResponse.create({ status: HealthCheckResponse_ServingStatus.SERVING });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(manager.addr, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
    manager.addr = `127.0.0.1:${port}`;
    const raft = new RaftNode({
      stateDir: join(this.dir, nodeId),
      nodeId,
      addr: manager.addr,
      stateMachine: manager.machine,
      transportCredentials: () => testCredentials(pem),
      clock: systemClock,
      random: systemRandom,
      log: this.log.with({ "node.id": nodeId }),
      ...(remote ? { join: { remote } } : {}),
      onLeadership: (isLeader) => manager.leadership.push(isLeader),
      onFatal: (error) => {
        manager.fatal = error;
      },
      onRemoved: () => {
        manager.removed = true;
      },
      ...(manager.files ? { host: { ...machineHost(() => testCredentials(pem)), files: manager.files } } : {}),
      ...this.#options,
    });
    manager.raft = raft;
    const by = { authorize: "roles", organization: () => organization } as const;
    addService(server, RaftPeer, raft.handlers.peer, by);
    addService(server, Raft, raft.handlers.raft, by);
    addService(server, RaftMembership, raft.handlers.membership, by);
    addService(server, Health, { check: serving }, by);
    await raft.start();
  }

  /** The power cut as far as one process can play it: connections break, nothing is handed over or written any more. */
  async kill(manager: TestManager): Promise<void> {
    manager.server.forceShutdown();
    await manager.raft.kill();
  }

  get leader(): TestManager | undefined {
    return this.managers.find((manager) => manager.raft.isLeader);
  }

  async close(): Promise<void> {
    await Promise.all(this.managers.map((manager) => manager.raft.kill()));
    for (const manager of this.managers) manager.server.forceShutdown();
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** Resolves with what `probe` returns once it is neither undefined nor false; rejects, naming `what`, after `timeoutMs`. */
export async function until<T>(what: string, probe: () => T | undefined | false, timeoutMs = 10_000): Promise<T> {
  for (const deadline = Date.now() + timeoutMs; Date.now() < deadline; ) {
    const value = probe();
    if (value !== undefined && value !== false) return value;
    await systemClock.sleep(5);
  }
  throw new Error(`timed out waiting until ${what}`);
}
