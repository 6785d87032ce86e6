import { mkdtempSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import {
  BlacklistedCertificate,
  CA,
  NodeCA,
  NodeReturn,
  NodeRole,
  NodeStatus,
  NodeStatus_State,
  RenewExpiredRequest,
} from "@starling/api";
import { addService, RpcClient } from "@starling/api/rpc";
import { nullLogger, systemClock } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  bootstrapIdentity,
  createCaServer,
  joinCluster,
  joinerCredentials,
  NodeIdentity,
  newCertificateRequest,
  newCluster,
  RootCA,
  refuseRemovedNodes,
  returnToCluster,
  serverCredentials,
} from "./index.ts";
import { proveReturn } from "./return-proof.ts";

const day = 86_400_000;
let dir: string;
let cleanups: (() => unknown)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "starling-return-"));
  cleanups = [() => rmSync(dir, { recursive: true })];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

/** A manager, and a worker whose certificate was issued `issuedDaysAgo` (valid for 90 days) and which is down since. */
async function swarm(issuedDaysAgo = 100) {
  const manager = await bootstrapIdentity(join(dir, "m1"), systemClock);
  const rootCA = (await manager.bootstrapRoot())!;
  const clusterId = manager.organization;
  const store = new MemoryStore();
  await store.update((tx) => tx.clusters.create(newCluster({ clusterId, rootCA })));
  const view = () => store.view((tx) => tx.clusters.get(clusterId))!;
  const caServer = createCaServer({ store, clusterId, identity: manager, clock: systemClock, log: nullLogger });
  const server = new grpc.Server();
  const options = { authorize: "roles", organization: () => clusterId, admit: refuseRemovedNodes(view) } as const;
  addService(server, CA, caServer.ca, options);
  addService(server, NodeCA, caServer.nodeCa, options);
  addService(server, NodeReturn, caServer.nodeReturn, options);
  const address = await new Promise<string>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", serverCredentials(manager), (error, port) =>
      error ? reject(error) : resolve(`127.0.0.1:${port}`),
    ),
  );
  cleanups.push(() => server.forceShutdown());
  const stateDir = join(dir, "w1");
  const token = view().rootCa.joinTokens.worker;
  const joined = await joinCluster({ addresses: [address], token, stateDir, clock: systemClock, log: nullLogger });
  const { nodeId } = joined;
  const node = () => store.view((tx) => tx.nodes.get(nodeId))!;
  // As if it had been issued then: the clock of TLS is nobody's to turn.
  const subject = { nodeId, role: "swarm-worker", organization: clusterId };
  const then = { now: Date.now() - issuedDaysAgo * day };
  const chainPem = await rootCA.signRequest(node().certificate.csr, subject, then);
  await writeFile(join(stateDir, "certificates", "swarm-node.crt"), chainPem);
  const status = NodeStatus.create({ state: NodeStatus_State.DOWN });
  const set = (change: Partial<ReturnType<typeof node>>) =>
    store.update((tx) => tx.nodes.update({ ...tx.nodes.get(nodeId)!, ...change }));
  await set({ status, certificate: { ...node().certificate, certificate: Buffer.from(chainPem) } });
  const identity = (await NodeIdentity.load(stateDir, systemClock, undefined, { allowExpired: true }))!;
  const comeBack = () =>
    returnToCluster(identity, { addresses: [address], clock: systemClock, log: nullLogger, patienceMs: 0 });
  return { identity, manager, rootCA, store, address, stateDir, nodeId, subject, node, set, view, comeBack };
}

describe("a node whose certificate ran out while it was off", () => {
  it("gets a new one by the key of the old, with the role that the cluster gives it now", async () => {
    const { identity, stateDir, set, comeBack, node, nodeId } = await swarm();
    expect(identity.hasExpired).toBe(true);
    await expect(NodeIdentity.load(stateDir, systemClock)).rejects.toThrow(/not valid after/);
    await set({ role: NodeRole.MANAGER });
    await comeBack();
    expect(identity).toMatchObject({ hasExpired: false, nodeId, role: "swarm-manager" });
    expect((await NodeIdentity.load(stateDir, systemClock))?.chainPem).toBe(identity.chainPem);
    expect(Buffer.from(node().certificate.certificate).toString()).toBe(identity.chainPem);
  });

  it("may ask again when the answer was lost", async () => {
    const { identity, stateDir, comeBack, address } = await swarm();
    const { chainPem, keyPem } = identity;
    await comeBack();
    await writeFile(join(stateDir, "certificates", "swarm-node.crt"), chainPem);
    await writeFile(join(stateDir, "certificates", "swarm-node.key"), keyPem);
    const again = (await NodeIdentity.load(stateDir, systemClock, undefined, { allowExpired: true }))!;
    await returnToCluster(again, { addresses: [address], clock: systemClock, log: nullLogger, patienceMs: 0 });
    expect(again.hasExpired).toBe(false);
  });

  it.each([
    [
      "it was removed",
      /removed/,
      async ({ store, view, nodeId }: Swarm) => {
        const blacklistedCertificates = { [nodeId]: BlacklistedCertificate.create() };
        await store.update((tx) => tx.clusters.update({ ...view(), blacklistedCertificates }));
      },
    ],
    [
      "it is no member",
      /no member of the cluster/,
      async ({ store, nodeId }: Swarm) => {
        await store.update((tx) => tx.nodes.delete(nodeId));
      },
    ],
    [
      "its place is taken",
      /is there already/,
      async ({ set }: Swarm) => {
        await set({ status: NodeStatus.create({ state: NodeStatus_State.READY }) });
      },
    ],
    [
      "it had a later certificate",
      /not the last one that was issued/,
      async ({ set, rootCA, subject, node }: Swarm) => {
        const { csrPem } = await newCertificateRequest();
        const later = await rootCA.signRequest(Buffer.from(csrPem), subject, { now: Date.now() });
        await set({ certificate: { ...node().certificate, certificate: Buffer.from(later) } });
      },
    ],
  ] as const)("is refused when %s", async (_, message, change) => {
    const given = await swarm();
    await change(given);
    await expect(given.comeBack()).rejects.toThrow(message);
    expect(given.identity.hasExpired).toBe(true);
  });

  it("is refused when it ran out longer ago than it was valid", async () => {
    const { comeBack } = await swarm(181);
    await expect(comeBack()).rejects.toThrow(/longer ago than it was valid: join the cluster again/);
  });
});

describe("whoever else asks in its place", () => {
  it.each([
    [
      "without the key",
      async ({ identity }: Swarm, csr: Buffer) => {
        const { keyPem } = await newCertificateRequest();
        return { chainPem: identity.chainPem, signature: proveReturn(csr, keyPem) };
      },
    ],
    [
      "with a proof for another request",
      async ({ identity }: Swarm) => {
        const other = Buffer.from((await newCertificateRequest()).csrPem);
        return { chainPem: identity.chainPem, signature: proveReturn(other, identity.keyPem) };
      },
    ],
    [
      "with a certificate of another root",
      async ({ subject }: Swarm, csr: Buffer) => {
        const root = await RootCA.create(Date.now());
        const { csrPem, keyPem } = await newCertificateRequest();
        const chainPem = await root.signRequest(Buffer.from(csrPem), subject, { now: Date.now() - 100 * day });
        return { chainPem, signature: proveReturn(csr, keyPem) };
      },
    ],
    ["with nothing", async () => ({ chainPem: "", signature: new Uint8Array() })],
    ["with more than is read", async () => ({ chainPem: "x".repeat(70_000), signature: new Uint8Array([1]) })],
    [
      "with a certificate that is still valid",
      async ({ rootCA, subject }: Swarm, csr: Buffer) => {
        const { csrPem, keyPem } = await newCertificateRequest();
        const chainPem = await rootCA.signRequest(Buffer.from(csrPem), subject, { now: Date.now() });
        return { chainPem, signature: proveReturn(csr, keyPem) };
      },
    ],
  ] as const)("is refused: %s", async (_, attempt) => {
    const given = await swarm();
    const csr = Buffer.from((await newCertificateRequest()).csrPem);
    const { chainPem, signature } = await attempt(given, csr);
    const client = new RpcClient(given.address, joinerCredentials(given.identity.rootPem));
    cleanups.push(() => client.close());
    const request = RenewExpiredRequest.create({ certificate: Buffer.from(chainPem), csr, signature });
    const before = given.node();
    await expect(client.call(NodeReturn.methods.renewExpired, request)).rejects.toMatchObject({
      code: expect.stringMatching(/InvalidArgument|FailedPrecondition/),
    });
    expect(given.node()).toBe(before);
  });
});

type Swarm = Awaited<ReturnType<typeof swarm>>;
