import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import * as grpc from "@grpc/grpc-js";
import {
  BlacklistedCertificate,
  Health,
  HealthCheckRequest,
  NodeExec,
  NodeImages,
  NodeSelf,
  NodeVolumes,
  registry,
  Unlock,
} from "@starling/api";
import { addService, managerRole, workerRole } from "@starling/api/rpc";
import { newId, nullLogger, systemClock, systemRandom } from "@starling/base";
import { bootstrapIdentity, type NodeIdentity, newCertificateRequest, RootCA, serverCredentials } from "@starling/ca";
import { createHealthHandlers } from "@starling/control-api";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Manager } from "./manager.ts";

interface Method {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  /** Who may call it, by the reference. */
  readonly roles: readonly string[] | "any";
}

interface WireMethod {
  readonly path: string;
  readonly stream: "none" | "client" | "server" | "bidi";
  readonly access?: "any";
  readonly roles?: readonly string[];
}

const reference = resolve(
  process.env["STARLING_SHARED"] ?? resolve(import.meta.dirname, "../../../shared"),
  "wire/swarmkit-v1.json",
);
const missing = !existsSync(reference);
if (missing) {
  const text = `wire reference ${reference} is missing: set STARLING_SHARED to the folder that holds wire/swarmkit-v1.json`;
  if (process.env["CI"]) throw new Error(text);
  console.error(`SKIPPED: ${text}`);
}

/** Unlock and NodeSelf are served on the local socket only, what nodes are asked by no port at all. */
const elsewhere: readonly string[] = [Unlock.name, NodeSelf.name, NodeExec.name, NodeImages.name, NodeVolumes.name];

/** Swarm's methods as the reference has them, and our own. */
function methods(): Method[] {
  const wire = JSON.parse(readFileSync(reference, "utf8")) as {
    readonly services: Readonly<Record<string, { readonly methods: readonly WireMethod[] }>>;
  };
  const swarms = Object.values(wire.services).flatMap((service) =>
    service.methods.map(({ path, stream, access, roles }) => ({
      path,
      requestStream: stream === "client" || stream === "bidi",
      responseStream: stream === "server" || stream === "bidi",
      roles: access ?? roles ?? [],
    })),
  );
  const ours = Object.values(registry.services).filter(
    ({ name }) => name.startsWith("starling.v1.") && !elsewhere.includes(name),
  );
  return [...swarms, ...ours.flatMap((service) => Object.values(service.methods))];
}

interface Who {
  readonly credentials: grpc.ChannelCredentials;
  /** What the caller can prove; "none": not even what anybody may do. */
  readonly roles: readonly string[] | "none";
  readonly metadata?: Readonly<Record<string, string>>;
}

const mayCall = ({ roles }: Who, method: Method) =>
  roles !== "none" && (method.roles === "any" || roles.some((role) => method.roles.includes(role)));

/** The methods of `all` that answer `who` otherwise than the reference says, each with its answer. */
async function wrongAnswers(address: string, who: Who, all: readonly Method[]): Promise<string[]> {
  const client = new grpc.Client(address, who.credentials, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.ssl_target_name_override": managerRole,
  });
  const metadata = new grpc.Metadata();
  for (const [key, value] of Object.entries(who.metadata ?? {})) metadata.set(key, value);
  const wrong: string[] = [];
  for (const method of all) {
    const allowed = mayCall(who, method);
    const answer = await answerOf(client, method, metadata);
    const refused = answer === "PERMISSION_DENIED";
    if (refused === allowed || answer === "UNIMPLEMENTED") {
      wrong.push(`${method.path}: ${answer}, expected ${allowed ? "to be let through" : "PERMISSION_DENIED"}`);
    }
  }
  client.close();
  return wrong;
}

/**
 * The status of a call with an empty request, or "a message" if one comes first. A stream that stays silent is "silent":
 * it was let through, since two calls that were made after it have been answered.
 */
async function answerOf(client: grpc.Client, method: Method, metadata: grpc.Metadata): Promise<string> {
  const bytes = (value: Buffer) => value;
  const { promise, resolve } = Promise.withResolvers<string>();
  const call = client.makeBidiStreamRequest(method.path, bytes, bytes, metadata, {});
  call.on("error", () => undefined); // Also told by the status.
  call.on("data", () => resolve("a message"));
  call.on("status", ({ code }) => resolve(grpc.status[code]!));
  if (!method.requestStream) call.write(Buffer.alloc(0));
  call.end();
  if (method.responseStream) {
    await healthAnswers(client);
    await healthAnswers(client);
    resolve("silent");
  }
  return await promise.finally(() => call.cancel());
}

function healthAnswers(client: grpc.Client): Promise<void> {
  const request = Buffer.from(HealthCheckRequest.encode(HealthCheckRequest.create({ service: "Raft" })));
  const bytes = (value: Buffer) => value;
  return new Promise((resolve) => {
    client.makeUnaryRequest(Health.methods.check.path, bytes, bytes, request, () => resolve());
  });
}

/** Credentials with a certificate that `signer` issued; the server is held against `trusted`. */
async function certified(trusted: RootCA, signer: RootCA, role: string, organization: string, nodeId = newId()) {
  const { csrPem, keyPem } = await newCertificateRequest();
  const subject = { nodeId, role, organization };
  const chainPem = await signer.signRequest(Buffer.from(csrPem), subject, { now: systemClock.now() });
  return credentialsOf(trusted, Buffer.from(keyPem), Buffer.from(chainPem));
}

function credentialsOf(trusted: RootCA, key: Buffer | null, chain: Buffer | null): grpc.ChannelCredentials {
  const root = Buffer.from(trusted.certificatePem);
  return grpc.credentials.createSsl(root, key, chain, { checkServerIdentity: () => undefined });
}

async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}

describe.skipIf(missing)("who may call what on a manager's remote API", () => {
  const callers: Record<string, Who> = {};
  const removedId = newId();
  let stateDir: string;
  let identity: NodeIdentity;
  let manager: Manager;
  let address: string;

  beforeAll(async () => {
    stateDir = mkdtempSync(join(tmpdir(), "starling-authorization-"));
    address = await freeAddress();
    identity = await bootstrapIdentity(stateDir, systemClock);
    const own = (await identity.bootstrapRoot())!;
    const foreign = await RootCA.create(systemClock.now());
    const cluster = identity.organization;
    const claiming = (role: string, organization: string, nodeId = newId()) => ({
      forwarded_cert: "true",
      forwarded_cert_cn: nodeId,
      forwarded_cert_ou: role,
      forwarded_cert_org: organization,
    });
    const claims = claiming(managerRole, cluster, identity.nodeId);
    const worker = await certified(own, own, workerRole, cluster);
    const relay = await certified(own, own, managerRole, cluster);
    const removed = await certified(own, own, managerRole, cluster, removedId);
    const alien = await certified(own, foreign, managerRole, cluster);
    Object.assign(callers, {
      anonymous: { credentials: credentialsOf(own, null, null), roles: [] },
      worker: { credentials: worker, roles: [workerRole] },
      manager: { credentials: await certified(own, own, managerRole, cluster), roles: [managerRole] },
      alienManager: { credentials: alien, roles: [] },
      alienWorker: { credentials: await certified(own, foreign, workerRole, cluster), roles: [] },
      otherCluster: { credentials: await certified(own, own, managerRole, newId()), roles: [] },
      anonymousClaiming: { credentials: credentialsOf(own, null, null), roles: "none", metadata: claims },
      workerClaiming: { credentials: worker, roles: "none", metadata: claims },
      relayForWorker: { credentials: relay, roles: [workerRole], metadata: claiming(workerRole, cluster) },
      relayForAnonymous: { credentials: relay, roles: [], metadata: claiming("", "", "") },
      relayForOtherCluster: { credentials: relay, roles: [], metadata: claiming(managerRole, newId()) },
      removed: { credentials: removed, roles: "none" },
      removedClaiming: { credentials: removed, roles: "none", metadata: claims },
      alienClaiming: { credentials: alien, roles: "none", metadata: claims },
    } satisfies Record<string, Who>);
    manager = await Manager.start({
      identity,
      stateDir,
      listenRemoteApi: address,
      advertiseRemoteApi: address,
      listenControlApi: join(stateDir, "control.sock"),
      raftTiming: { tickMs: 10 },
      clock: systemClock,
      random: systemRandom,
      log: nullLogger,
      onRemoved: () => undefined,
      onFatal: (error) => {
        throw error;
      },
    });
  });

  afterAll(async () => {
    await manager?.stop();
    rmSync(stateDir, { recursive: true });
  });

  it.each([
    ["no certificate", "anonymous"],
    ["a worker's certificate", "worker"],
    ["a manager's certificate", "manager"],
    ["a manager's certificate of a foreign root that names this cluster", "alienManager"],
    ["a worker's certificate of a foreign root that names this cluster", "alienWorker"],
    ["a manager's certificate of this root that names another cluster", "otherCluster"],
    ["no certificate, claiming to relay for a manager", "anonymousClaiming"],
    ["a worker's certificate, claiming to relay for a manager", "workerClaiming"],
    ["a manager's certificate of a foreign root, claiming to relay for a manager", "alienClaiming"],
    ["a manager's certificate, relaying for a worker", "relayForWorker"],
    ["a manager's certificate, relaying for somebody without a certificate", "relayForAnonymous"],
    ["a manager's certificate, relaying for a manager of another cluster", "relayForOtherCluster"],
  ])("with %s", async (_, caller) => {
    expect(await wrongAnswers(address, callers[caller]!, methods())).toEqual([]);
  });

  it.each(["removed", "removedClaiming"])("with the certificate of a manager that was removed: %s", async (caller) => {
    await manager.store.update((tx) => {
      const cluster = tx.clusters.get(identity.organization)!;
      const blacklistedCertificates = { [removedId]: BlacklistedCertificate.create() };
      tx.clusters.update({ ...cluster, blacklistedCertificates });
    });
    expect(await wrongAnswers(address, callers[caller]!, methods())).toEqual([]);
  });

  it("what is served elsewhere, not even with a manager's certificate", async () => {
    const services = Object.values(registry.services).filter(({ name }) => elsewhere.includes(name));
    expect(services).toHaveLength(elsewhere.length);
    const { credentials } = callers["manager"]!;
    const options = { "grpc.use_local_subchannel_pool": 1, "grpc.ssl_target_name_override": managerRole };
    const client = new grpc.Client(address, credentials, options);
    for (const method of services.flatMap((service) => Object.values<Method>(service.methods))) {
      expect(await answerOf(client, { ...method, responseStream: false }, new grpc.Metadata())).toBe("UNIMPLEMENTED");
    }
    client.close();
  });

  it("notices a service that checks no roles", async () => {
    const server = new grpc.Server();
    const handlers = createHealthHandlers({ Raft: () => "serving" });
    addService(server, Health, handlers, { authorize: "local", organization: () => identity.organization });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", serverCredentials(identity), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    const health = methods().filter(({ path }) => path === Health.methods.check.path);
    expect(await wrongAnswers(`127.0.0.1:${port}`, callers["anonymous"]!, health)).toEqual([
      `${Health.methods.check.path}: a message, expected PERMISSION_DENIED`,
    ]);
    server.forceShutdown();
  });
});
