import { mkdtempSync, rmSync, statSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import {
  BlacklistedCertificate,
  CA,
  Dispatcher,
  GetRootCACertificateRequest,
  GetUnlockKeyRequest,
  HeartbeatRequest,
  HeartbeatResponse,
  IssueNodeCertificateRequest,
  NodeCA,
  NodeRole,
} from "@starling/api";
import { addService, type Handlers, RpcClient } from "@starling/api/rpc";
import { FakeClock, nullLogger, seededRandom, systemClock } from "@starling/base";
import { all, MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  bootstrapIdentity,
  CertificateRenewer,
  clientCredentials,
  createCaServer,
  joinCluster,
  joinerCredentials,
  NodeIdentity,
  newCertificateRequest,
  newCluster,
  RootCA,
  readNodeCertificate,
  refuseRemovedNodes,
  renewalTime,
  serverCredentials,
} from "./index.ts";

const day = 86_400_000;
let dir: string;
let cleanups: (() => void)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "starling-ca-"));
  cleanups = [() => rmSync(dir, { recursive: true })];
});
afterEach(() => {
  for (const cleanup of cleanups.reverse()) cleanup();
});

/** A first manager with its CA served on loopback, and a Dispatcher whose heartbeat tells who called. */
async function cluster(name = "m1") {
  const identity = await bootstrapIdentity(join(dir, name), systemClock);
  const rootCA = await identity.bootstrapRoot();
  const store = new MemoryStore();
  const clusterId = identity.organization;
  await store.update((tx) => tx.clusters.create(newCluster({ clusterId, rootCA: rootCA! })));
  const view = () => store.view((tx) => tx.clusters.get(clusterId))!;
  const { ca, nodeCa } = createCaServer({ store, clusterId, identity, clock: systemClock, log: nullLogger });
  const server = new grpc.Server();
  const options = { authorize: "roles", organization: () => clusterId, admit: refuseRemovedNodes(view) } as const;
  addService(server, CA, ca, options);
  addService(server, NodeCA, nodeCa, options);
  const beats: string[] = [];
  const dispatcher: Partial<Handlers<typeof Dispatcher>> = {
    heartbeat: async (_request, { caller }) => {
      beats.push(caller.nodeId);
      return HeartbeatResponse.create();
    },
  };
  addService(server, Dispatcher, dispatcher as Handlers<typeof Dispatcher>, options);
  const address = await new Promise<string>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", serverCredentials(identity), (error, port) =>
      error ? reject(error) : resolve(`127.0.0.1:${port}`),
    ),
  );
  cleanups.push(() => server.forceShutdown());
  return { identity, store, address, beats, tokens: view().rootCa.joinTokens, view };
}

const joinAs = (name: string, address: string, token: string) =>
  joinCluster({
    addresses: [address],
    token,
    stateDir: join(dir, name),
    clock: systemClock,
    log: nullLogger,
    patienceMs: 0,
  });

async function call<T>(address: string, identity: NodeIdentity, use: (client: RpcClient) => Promise<T>): Promise<T> {
  const client = new RpcClient(address, clientCredentials(identity));
  try {
    return await use(client);
  } finally {
    client.close();
  }
}
const beat = (client: RpcClient) =>
  client.call(Dispatcher.methods.heartbeat, HeartbeatRequest.create(), { timeoutMs: 5_000 });
const unlockKey = (client: RpcClient) =>
  client.call(CA.methods.getUnlockKey, GetUnlockKeyRequest.create(), { timeoutMs: 5_000 });

describe("joining", () => {
  it("makes a node of the token's role, with a certificate of the cluster", async () => {
    const { store, address, tokens, identity, beats } = await cluster();
    const worker = await joinAs("w1", address, tokens.worker);
    const manager = await joinAs("m2", address, tokens.manager);
    expect([worker.role, manager.role]).toEqual(["swarm-worker", "swarm-manager"]);
    expect(worker.organization).toBe(identity.organization);
    const nodes = store.view((tx) => tx.nodes.find(all));
    expect(new Map(nodes.map(({ id, role }) => [id, role]))).toEqual(
      new Map([
        [worker.nodeId, NodeRole.WORKER],
        [manager.nodeId, NodeRole.MANAGER],
      ]),
    );
    await call(address, worker, beat);
    expect(beats).toEqual([worker.nodeId]);
    await expect(call(address, worker, unlockKey)).rejects.toMatchObject({ code: "PermissionDenied" });
    await call(address, manager, unlockKey);
  });

  it("is refused with a wrong secret, and leaves no node", async () => {
    const { store, address, tokens } = await cluster();
    const wrong = `${tokens.worker.slice(0, -25)}${"0".repeat(25)}`;
    await expect(joinAs("w1", address, wrong)).rejects.toMatchObject({
      code: "InvalidArgument",
      message: "A valid join token is necessary to join this cluster",
    });
    expect(store.view((tx) => tx.nodes.size)).toBe(0);
    expect(await NodeIdentity.load(join(dir, "w1"), systemClock)).toBeUndefined();
  });

  it("of a cluster that requires FIPS is refused before anybody is asked", async () => {
    const token = `SWMTKN-2-1-${"0".repeat(50)}-${"0".repeat(25)}`;
    await expect(joinAs("w1", "127.0.0.1:1", token)).rejects.toMatchObject({
      code: "FailedPrecondition",
      message: expect.stringMatching(/not FIPS-enabled/),
    });
  });

  it("is refused when somebody else's root answers", async () => {
    const { tokens } = await cluster();
    const impostor = await cluster("impostor");
    await expect(joinAs("w1", impostor.address, tokens.worker)).rejects.toThrow(/does not match fingerprint/);
  });

  it("is refused with a certificate request that is none", async () => {
    const { address, tokens, identity, store } = await cluster();
    const client = new RpcClient(address, joinerCredentials(identity.rootPem));
    cleanups.push(() => client.close());
    for (const csr of ["", "x"]) {
      const request = IssueNodeCertificateRequest.create({ csr: Buffer.from(csr), token: tokens.worker });
      await expect(client.call(NodeCA.methods.issueNodeCertificate, request)).rejects.toMatchObject({
        code: "InvalidArgument",
        message: expect.stringMatching(/^csr: /),
      });
    }
    expect(store.view((tx) => tx.nodes.size)).toBe(0);
  });
});

describe("a caller", () => {
  it("with a certificate of another root counts as none, whatever it says of itself", async () => {
    const { address, identity } = await cluster();
    const root = await RootCA.create(Date.now());
    const { csrPem, keyPem } = await newCertificateRequest();
    const subject = { nodeId: identity.nodeId, role: "swarm-manager", organization: identity.organization };
    const chainPem = await root.signRequest(Buffer.from(csrPem), subject, { now: Date.now() });
    // The forger trusts our root, to get as far as the role check.
    const forged = {
      rootPem: identity.rootPem,
      chainPem,
      keyPem,
      onChange: () => () => true,
    } as unknown as NodeIdentity;
    await expect(call(address, forged, beat)).rejects.toMatchObject({ code: "PermissionDenied" });
    await expect(call(address, forged, unlockKey)).rejects.toMatchObject({ code: "PermissionDenied" });
    await call(address, forged, (client) =>
      client.call(CA.methods.getRootCACertificate, GetRootCACertificateRequest.create()),
    );
  });

  it("that was removed from the cluster is refused while its certificate lasts", async () => {
    const { address, store, tokens, view } = await cluster();
    const worker = await joinAs("w1", address, tokens.worker);
    await store.update((tx) =>
      tx.clusters.update({ ...view(), blacklistedCertificates: { [worker.nodeId]: BlacklistedCertificate.create() } }),
    );
    await expect(call(address, worker, beat)).rejects.toMatchObject({ code: "PermissionDenied" });
  });

  it("refuses a server whose certificate is a worker's", async () => {
    const { address, tokens, identity } = await cluster();
    const worker = await joinAs("w1", address, tokens.worker);
    const server = new grpc.Server();
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", serverCredentials(worker), (error, bound) =>
        error ? reject(error) : resolve(bound),
      ),
    );
    cleanups.push(() => server.forceShutdown());
    await expect(call(`127.0.0.1:${port}`, identity, beat)).rejects.toThrow(/role swarm-worker, not swarm-manager/);
  });
});

describe("renewal", () => {
  it("takes the role that the cluster gives now, and servers and clients go on with the new certificate", async () => {
    const { address, store, tokens } = await cluster();
    const worker = await joinAs("w1", address, tokens.worker);
    const before = worker.chainPem;
    await store.update((tx) => tx.nodes.update({ ...tx.nodes.get(worker.nodeId)!, role: NodeRole.MANAGER }));
    const renewer = new CertificateRenewer({
      identity: worker,
      manager: () => address,
      clock: systemClock,
      random: seededRandom(1),
      log: nullLogger,
    });
    const client = new RpcClient(address, clientCredentials(worker));
    cleanups.push(() => client.close());
    await expect(unlockKey(client)).rejects.toMatchObject({ code: "PermissionDenied" });
    const stop = new AbortController();
    const changed = new Promise<void>((resolve) => worker.onChange(resolve));
    const running = renewer.run(stop.signal);
    renewer.renewNow();
    await changed;
    expect(worker.role).toBe("swarm-manager");
    expect(worker.chainPem).not.toBe(before);
    await call(address, worker, unlockKey);
    expect((await NodeIdentity.load(join(dir, "w1"), systemClock))?.chainPem).toBe(worker.chainPem);
    stop.abort();
    await running;
  });

  it("is done once for requests that it has met already", async () => {
    const { address, store, tokens } = await cluster();
    const worker = await joinAs("w1", address, tokens.worker);
    await store.update((tx) => tx.nodes.update({ ...tx.nodes.get(worker.nodeId)!, role: NodeRole.MANAGER }));
    let wanted = 0;
    const renewer = new CertificateRenewer({
      identity: worker,
      manager: () => {
        wanted++;
        return address;
      },
      clock: systemClock,
      random: seededRandom(1),
      log: nullLogger,
    });
    const stop = new AbortController();
    const isWanted = () => !worker.isManager;
    worker.onChange(() => renewer.renewNow(isWanted)); // As of a message that was on its way.
    const running = renewer.run(stop.signal);
    renewer.renewNow(isWanted);
    await new Promise<void>((resolve) => worker.onChange(resolve));
    await new Promise<void>((resolve) => setImmediate(resolve));
    stop.abort();
    await running;
    expect(wanted).toBe(1);
  });

  it("falls at 50 to 80 % of the validity", () => {
    const certificate = { notBefore: 0, notAfter: 100 };
    expect(renewalTime(certificate, () => 0)).toBe(50);
    expect(renewalTime(certificate, () => 1)).toBe(80);
  });
});

describe("an identity on disk", () => {
  it("is kept from others, and comes back", async () => {
    const made = await bootstrapIdentity(dir, systemClock);
    const loaded = await NodeIdentity.load(dir, systemClock);
    expect(loaded?.nodeId).toBe(made.nodeId);
    for (const name of ["swarm-node.key", "swarm-node.crt", "swarm-root-ca.crt", "swarm-root-ca.key"]) {
      expect(statSync(join(dir, "certificates", name)).mode & 0o777).toBe(0o600);
    }
    await made.forgetRootKey();
    expect(await made.bootstrapRoot()).toBeUndefined();
  });

  it("survives a write cut short between certificate and key", async () => {
    const made = await bootstrapIdentity(dir, systemClock);
    const key = join(dir, "certificates", "swarm-node.key");
    await rename(key, `${key}.next`);
    await writeFile(key, (await newCertificateRequest()).keyPem);
    expect((await NodeIdentity.load(dir, systemClock))?.keyPem).toBe(made.keyPem);
    expect(await readFile(key, "utf8")).toBe(made.keyPem);
  });

  it("is refused with the reason when its key, its root or its time is wrong", async () => {
    const clock = new FakeClock();
    await bootstrapIdentity(dir, clock);
    const certificates = join(dir, "certificates");
    await clock.advance(91 * day);
    await expect(NodeIdentity.load(dir, clock)).rejects.toThrow(/not valid after .* and it is/);
    await expect(NodeIdentity.load(dir, new FakeClock(0))).rejects.toThrow(/not valid before .*clock right/);
    const root = join(certificates, "swarm-root-ca.crt");
    await writeFile(root, (await RootCA.create(clock.now())).certificatePem);
    await expect(NodeIdentity.load(dir, new FakeClock())).rejects.toThrow(/not signed by this cluster's root/);
    await writeFile(join(certificates, "swarm-node.key"), (await newCertificateRequest()).keyPem);
    await expect(NodeIdentity.load(dir, new FakeClock())).rejects.toThrow(
      /swarm-node.key is not the key of swarm-node.crt/,
    );
  });
});

describe("a root", () => {
  it("is of 20 years and issues certificates of 90 days, back-dated an hour, whatever the request wants", async () => {
    const now = Date.UTC(2026, 0, 1);
    const root = await RootCA.create(now);
    const { csrPem } = await newCertificateRequest();
    const subject = { nodeId: "n1", role: "swarm-worker", organization: "c1" };
    const chainPem = await root.signRequest(Buffer.from(csrPem), subject, { now, validityMs: 60_000 });
    expect(readNodeCertificate({ chainPem, rootPem: root.certificatePem, now })).toEqual({
      ...subject,
      notBefore: now - 3_600_000,
      notAfter: now + 90 * day,
    });
    expect(() => readNodeCertificate({ chainPem, rootPem: root.certificatePem, now: now + 91 * day })).toThrow();
  });
});
