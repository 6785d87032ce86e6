import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import {
  CA,
  CAConfig,
  type Cluster,
  Dispatcher,
  ExternalCA,
  HeartbeatRequest,
  HeartbeatResponse,
  IssuanceStatus,
  IssuanceStatus_State,
  Node,
  NodeCA,
  NodeDescription,
  NodeRole,
  NodeSpec,
  NodeSpec_Membership,
} from "@starling/api";
import { addService, type Handlers, RpcClient } from "@starling/api/rpc";
import { FakeClock, nullLogger, seededRandom, systemClock } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { issuerInfo, tlsInfo } from "./certificate.ts";
import { pemText, wantedRoot } from "./cluster.ts";
import {
  bootstrapIdentity,
  CertificateRenewer,
  clientCredentials,
  createCaServer,
  joinCluster,
  type NodeIdentity,
  newCertificateRequest,
  newCluster,
  nextRootCa,
  parseJoinToken,
  RootCA,
  readNodeCertificate,
  refuseRemovedNodes,
  serverCredentials,
  sha256,
  wantsRenewal,
} from "./index.ts";
import { nodesWithout, planAsking, rotationBatch } from "./rotation-plan.ts";
import { CfsslServer, foreignRoot } from "./testing.ts";

let dir: string;
let cleanups: (() => unknown)[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "starling-rotation-"));
  cleanups = [() => rmSync(dir, { recursive: true })];
});
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup();
});

const { ISSUED, RENEW, ROTATE } = IssuanceStatus_State;
const subject = { nodeId: "n1", role: "swarm-worker", organization: "c1" };

async function leafOf(root: RootCA): Promise<string> {
  const { csrPem } = await newCertificateRequest();
  return await root.signRequest(Buffer.from(csrPem), subject, { now: Date.now() });
}

/** The root `next` as it signs during a rotation from `old`. */
async function rotatingRoot(old: RootCA, next: { readonly certPem: string; readonly keyPem: string }) {
  return RootCA.fromPem({
    certificatePem: old.certificatePem,
    keyPem: next.keyPem,
    signerPem: next.certPem,
    intermediatesPem: await old.crossSign(next.certPem),
  });
}

describe("a cross-signed root", () => {
  it.each([
    ["of this project", async () => ({ ...(await ownRoot()) })],
    ["with an RSA key", () => foreignRoot("rsa", { rsa: true })],
    ["whose key identifier is no hash of its key", () => foreignRoot("odd")],
  ])(
    "%s makes certificates that hold for those who trust the old root, and for those who trust the new",
    async (_, make) => {
      const now = Date.now();
      const old = await RootCA.create(now);
      const next = await make();
      const chainPem = await leafOf(await rotatingRoot(old, next));
      for (const rootPem of [old.certificatePem, next.certPem]) {
        expect(readNodeCertificate({ chainPem, rootPem, now })).toMatchObject(subject);
        expect(tlsInfo(chainPem, rootPem)).toMatchObject(issuerInfo(next.certPem));
      }
      const rootPem = (await RootCA.create(now)).certificatePem;
      expect(() => readNodeCertificate({ chainPem, rootPem, now })).toThrow(/not signed by this cluster's root/);
    },
  );

  it("is not stood in for by a node's certificate", async () => {
    const root = await RootCA.create(Date.now());
    const { csrPem, keyPem } = await newCertificateRequest();
    const nodePem = await root.signRequest(Buffer.from(csrPem), subject, { now: Date.now() });
    const forger = RootCA.fromPem({
      certificatePem: root.certificatePem,
      keyPem,
      signerPem: nodePem,
      intermediatesPem: nodePem,
    });
    const chainPem = await leafOf(forger);
    expect(() => readNodeCertificate({ chainPem, rootPem: root.certificatePem, now: Date.now() })).toThrow(
      /not signed by this cluster's root/,
    );
  });
});

async function ownRoot() {
  const root = await RootCA.create(Date.now());
  return { certPem: root.certificatePem, keyPem: root.keyPem! };
}

/** A cluster object of `root`, and what shows a manager's certificate of it. */
async function clusterOf(root: RootCA) {
  const cluster = newCluster({ clusterId: "c1", rootCA: root });
  const { csrPem, keyPem } = await newCertificateRequest();
  const manager = { nodeId: "m1", role: "swarm-manager", organization: "c1" };
  const chainPem = await root.signRequest(Buffer.from(csrPem), manager, { now: Date.now() });
  const options = { clock: systemClock, identity: { chainPem, keyPem } };
  return {
    cluster,
    options,
    next: (wanted: Partial<CAConfig>) => nextRootCa(cluster, CAConfig.create(wanted), options),
  };
}
const asBytes = ({ certPem, keyPem }: { readonly certPem: string; readonly keyPem: string }) => ({
  signingCaCert: Buffer.from(certPem),
  signingCaKey: Buffer.from(keyPem),
});

describe("the root that a cluster is to have", () => {
  it("stays when nothing else is wanted, and is made when a rotation is", async () => {
    const { cluster, next } = await clusterOf(await RootCA.create(Date.now()));
    expect(await next({})).toBe(cluster.rootCa);
    const { rootRotation, caCert, joinTokens, lastForcedRotation } = await next({ forceRotate: 1 });
    expect(lastForcedRotation).toBe(1);
    expect(caCert).toEqual(cluster.rootCa.caCert);
    expect(joinTokens).toEqual(cluster.rootCa.joinTokens);
    expect(rootRotation!.caKey.length).toBeGreaterThan(0);
    expect(rootRotation!.caCert).not.toEqual(caCert);
  });

  it("is the one that is given; given again only its key counts, and the present one ends the rotation", async () => {
    const { cluster, options, next } = await clusterOf(await RootCA.create(Date.now()));
    const given = await foreignRoot("given");
    const first = await next(asBytes(given));
    expect(pemText(first.rootRotation!.caKey)).toBe(given.keyPem);
    const rotating: Cluster = { ...cluster, rootCa: first };
    const again = await nextRootCa(rotating, CAConfig.create(asBytes(given)), options);
    expect(again.rootRotation!.crossSignedCaCert).toEqual(first.rootRotation!.crossSignedCaCert);
    const keyless = CAConfig.create({ signingCaCert: first.rootRotation!.caCert });
    expect((await nextRootCa(rotating, keyless, options)).rootRotation!.caKey).toEqual(first.rootRotation!.caKey);
    const back = CAConfig.create({ signingCaCert: cluster.rootCa.caCert });
    expect(await nextRootCa(rotating, back, options)).toMatchObject({ ...cluster.rootCa, rootRotation: undefined });
  });

  it("may be another one in the middle of a rotation, cross-signed by the present root again", async () => {
    const root = await RootCA.create(Date.now());
    const { cluster, options, next } = await clusterOf(root);
    const rotating = { ...cluster, rootCa: await next({ forceRotate: 1 }) };
    const { rootRotation } = await nextRootCa(rotating, CAConfig.create({ forceRotate: 2 }), options);
    const second = { certPem: pemText(rootRotation!.caCert), keyPem: pemText(rootRotation!.caKey) };
    expect(second.certPem).not.toBe(pemText(rotating.rootCa.rootRotation!.caCert));
    const chainPem = await leafOf(await rotatingRoot(root, second));
    readNodeCertificate({ chainPem, rootPem: root.certificatePem, now: Date.now() });
  });

  it("is refused, naming what is wrong with it", async () => {
    const root = await RootCA.create(Date.now());
    const { next } = await clusterOf(root);
    const [one, other] = [await foreignRoot("one"), await foreignRoot("other")];
    const refusals: [Partial<CAConfig>, RegExp][] = [
      [{ signingCaCert: Buffer.from("x") }, /no PEM certificate found/],
      [asBytes({ ...one, certPem: one.certPem + other.certPem }), /cannot contain multiple certificates/],
      [asBytes({ ...one, keyPem: other.keyPem }), /not the key of the signing CA certificate/],
      [asBytes({ ...one, keyPem: "x" }), /not a PEM private key/],
      [asBytes(await foreignRoot("short", { years: 0.5 })), /expires too soon/],
      [asBytes({ ...one, certPem: await leafOf(root) }), /not a self-signed certificate authority/],
      [{ signingCaCert: Buffer.from(one.certPem) }, /at least one valid, reachable external CA .* desired/],
      [{ externalCas: [ExternalCA.create({ url: "http://ca" })] }, /invalid HTTP scheme/],
    ];
    for (const [wanted, message] of refusals) {
      await expect(next(wanted)).rejects.toMatchObject({
        code: "InvalidArgument",
        message: expect.stringMatching(message),
      });
    }
  });
});

describe("an external CA", () => {
  it("is to be there, with a certificate of its root", async () => {
    const { next } = await clusterOf(await RootCA.create(Date.now()));
    const given = await foreignRoot("outside");
    const outside = RootCA.fromPem({ certificatePem: given.certPem, keyPem: given.keyPem });
    const stranger = await CfsslServer.start(await RootCA.create(Date.now()));
    cleanups.push(() => stranger.stop());
    const wanted = (url: string) => ({
      signingCaCert: Buffer.from(given.certPem),
      externalCas: [ExternalCA.create({ url, caCert: Buffer.from(given.certPem) })],
    });
    for (const url of [stranger.url, "https://127.0.0.1:1"]) {
      await expect(next(wanted(url))).rejects.toThrow(
        /external CA corresponding to the desired CA certificate: https:/,
      );
    }
    const cfssl = await CfsslServer.start(outside);
    cleanups.push(() => cfssl.stop());
    expect((await next(wanted(cfssl.url))).rootRotation!.caKey).toHaveLength(0);
  });

  it("cross-signs the root that takes its place", async () => {
    const root = await RootCA.create(Date.now());
    const cfssl = await CfsslServer.start(root);
    cleanups.push(() => cfssl.stop());
    const { cluster, options } = await clusterOf(root);
    const keyless: Cluster = { ...cluster, rootCa: { ...cluster.rootCa, caKey: new Uint8Array() } };
    const externalCas = [ExternalCA.create({ url: cfssl.url })];
    await expect(nextRootCa(keyless, CAConfig.create({ forceRotate: 1 }), options)).rejects.toThrow(
      /current CA certificate/,
    );
    const { rootRotation } = await nextRootCa(keyless, CAConfig.create({ forceRotate: 1, externalCas }), options);
    expect(cfssl.requests).toMatchObject([{ profile: "CA", subject: { CN: "swarm-ca" } }]);
    const rotating = RootCA.fromPem({
      certificatePem: root.certificatePem,
      keyPem: pemText(rootRotation!.caKey),
      signerPem: pemText(rootRotation!.caCert),
      intermediatesPem: pemText(rootRotation!.crossSignedCaCert),
    });
    readNodeCertificate({ chainPem: await leafOf(rotating), rootPem: root.certificatePem, now: Date.now() });
    const other = await foreignRoot("other");
    const away = CAConfig.create({ signingCaCert: Buffer.from(other.certPem), externalCas });
    await expect(nextRootCa(keyless, away, options)).rejects.toMatchObject({ code: "InvalidArgument" });
  });
});

/** A manager with its CA, and workers that do what nodes do: renew when asked, tell what they trust, take new roots. */
async function swarm() {
  const identity = await bootstrapIdentity(join(dir, "m1"), systemClock);
  const rootCA = (await identity.bootstrapRoot())!;
  const clusterId = identity.organization;
  const store = new MemoryStore();
  const status = IssuanceStatus.create({ state: ISSUED });
  await store.update((tx) => {
    tx.clusters.create(newCluster({ clusterId, rootCA }));
    tx.nodes.create(
      Node.create({
        id: identity.nodeId,
        role: NodeRole.MANAGER,
        spec: NodeSpec.create({ desiredRole: NodeRole.MANAGER, membership: NodeSpec_Membership.ACCEPTED }),
        certificate: { role: NodeRole.MANAGER, csr: new Uint8Array(), status, certificate: new Uint8Array(), cn: "" },
      }),
    );
  });
  const clock = new FakeClock(Date.now());
  const view = () => store.view((tx) => tx.clusters.get(clusterId))!;
  const server = new grpc.Server();
  const options = { authorize: "roles", organization: () => clusterId, admit: refuseRemovedNodes(view) } as const;
  const caServer = createCaServer({ store, clusterId, identity, clock, log: nullLogger });
  addService(server, CA, caServer.ca, options);
  addService(server, NodeCA, caServer.nodeCa, options);
  const heartbeat = async () => HeartbeatResponse.create();
  addService(
    server,
    Dispatcher,
    { heartbeat } as Partial<Handlers<typeof Dispatcher>> as Handlers<typeof Dispatcher>,
    options,
  );
  const address = await new Promise<string>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", serverCredentials(identity), (error, port) =>
      error ? reject(error) : resolve(`127.0.0.1:${port}`),
    ),
  );
  const stop = new AbortController();
  const running = caServer.run(stop.signal).catch(() => undefined);
  cleanups.push(async () => {
    stop.abort();
    await running;
    server.forceShutdown();
  });
  const node = (id: string) => store.view((tx) => tx.nodes.get(id));
  const alive = (member: NodeIdentity): (() => void) => {
    const gone = new AbortController();
    const signal = AbortSignal.any([gone.signal, stop.signal]);
    const renewer = new CertificateRenewer({
      identity: member,
      manager: () => address,
      clock: systemClock,
      random: seededRandom(1),
      log: nullLogger,
    });
    const describe = () =>
      void store.update((tx) => {
        const present = tx.nodes.get(member.nodeId);
        const description = NodeDescription.create({ hostname: member.nodeId, tlsInfo: member.tlsInfo });
        if (present) tx.nodes.update({ ...present, description });
      });
    describe();
    const forget = member.onChange(describe);
    const hear = () => {
      const wanted = () => wantsRenewal(node(member.nodeId)!, member);
      if (node(member.nodeId) && wanted()) renewer.renewNow(wanted);
      void member.replaceRoot(pemText(view().rootCa.caCert));
    };
    void (async () => {
      hear();
      for await (const _ of store.watch({ kinds: ["node", "cluster"], signal })) hear();
    })().catch(() => undefined);
    const renewing = renewer.run(signal);
    const leave = () => {
      forget();
      gone.abort();
    };
    cleanups.push(async () => {
      leave();
      await renewing;
    });
    return leave;
  };
  const join_ = (name: string, token = view().rootCa.joinTokens.worker) =>
    joinCluster({
      addresses: [address],
      token,
      stateDir: join(dir, name),
      clock: systemClock,
      log: nullLogger,
      patienceMs: 0,
    });
  return { identity, store, clock, address, view, node, alive, join: join_, rootCA };
}

/** Turns the CA's clock until it holds: the nodes renew in real time meanwhile. */
async function turnUntil(clock: FakeClock, holds: () => boolean): Promise<void> {
  await expect
    .poll(
      async () => {
        await clock.advance(1_000);
        return holds();
      },
      { timeout: 10_000, interval: 10 },
    )
    .toBe(true);
}

async function beats(address: string, identity: NodeIdentity): Promise<void> {
  const client = new RpcClient(address, clientCredentials(identity));
  try {
    await client.call(Dispatcher.methods.heartbeat, HeartbeatRequest.create(), { timeoutMs: 5_000 });
  } finally {
    client.close();
  }
}

describe("a root rotation", () => {
  it("ends when every node has a certificate of the new root; meanwhile all of them reach each other", async () => {
    const { identity, store, clock, address, view, node, alive, join: joinAs } = await swarm();
    const [w1, w2] = [await joinAs("w1"), await joinAs("w2")];
    alive(identity);
    alive(w1);
    const oldToken = view().rootCa.joinTokens.worker;
    const old = w1.rootPem;
    const open = new RpcClient(address, clientCredentials(w1));
    cleanups.push(() => open.close());
    const beat = () => open.call(Dispatcher.methods.heartbeat, HeartbeatRequest.create(), { timeoutMs: 5_000 });
    await beat();
    const rotate = async (forceRotate: number) => {
      const options = { clock: systemClock, identity };
      const rootCa = await nextRootCa(view(), CAConfig.create({ forceRotate }), options);
      await store.update((tx) => tx.clusters.update({ ...view(), rootCa }));
      return wantedRoot(view());
    };
    const first = await rotate(1);
    const has = (id: string, root: string) => nodesWithout(issuerInfo(root), [node(id)!]).length === 0;
    await turnUntil(clock, () => has(identity.nodeId, first) && has(w1.nodeId, first));
    // w2 is off: it holds the rotation up, keeps its certificate and trust, and reaches the others.
    expect(view().rootCa.rootRotation).toBeDefined();
    expect(node(w2.nodeId)?.certificate.status.state).toBe(ROTATE);
    expect([w1.rootPem, w2.rootPem]).toEqual([old, old]);
    for (const each of [w1, w2]) await beats(address, each);
    // Another one begins meanwhile, and a node joins by the token that is still in force.
    const second = await rotate(2);
    expect(second).not.toBe(first);
    const w3 = await joinAs("w3", oldToken);
    expect(w3.tlsInfo).toMatchObject(issuerInfo(second));
    alive(w3);
    alive(w2);
    await turnUntil(clock, () => view().rootCa.rootRotation === undefined);
    const { caCert, caCertHash, joinTokens, lastForcedRotation } = view().rootCa;
    expect([pemText(caCert), lastForcedRotation]).toEqual([second, 2]);
    expect(caCertHash).toBe(`sha256:${Buffer.from(sha256(caCert)).toString("hex")}`);
    const members = [identity, w1, w2, w3];
    await expect.poll(() => members.map(({ rootPem }) => rootPem === second)).toEqual([true, true, true, true]);
    for (const each of members) await beats(address, each);
    await beat();
    expect(Buffer.from(parseJoinToken(joinTokens.worker).rootDigest)).toEqual(Buffer.from(sha256(caCert)));
    await expect(joinAs("w4", oldToken)).rejects.toThrow(/does not match fingerprint/);
    expect((await joinAs("w5")).rootPem).toBe(second);
  });

  it("that is given up leaves the old root, and every node in touch", async () => {
    const { identity, store, clock, address, view, node, alive, join: joinAs } = await swarm();
    const [w1, w2] = [await joinAs("w1"), await joinAs("w2")];
    for (const each of [identity, w1]) alive(each);
    const options = { clock: systemClock, identity };
    const change = async (wanted: Partial<CAConfig>) => {
      const rootCa = await nextRootCa(view(), CAConfig.create(wanted), options);
      await store.update((tx) => tx.clusters.update({ ...view(), rootCa }));
    };
    await change({ forceRotate: 1 });
    const next = wantedRoot(view());
    await turnUntil(
      clock,
      () => nodesWithout(issuerInfo(next), [node(w1.nodeId)!, node(identity.nodeId)!]).length === 0,
    );
    await change({ signingCaCert: view().rootCa.caCert, forceRotate: 1 });
    expect(view().rootCa.rootRotation).toBeUndefined();
    const w3 = await joinAs("w3");
    for (const each of [w1, w2, w3, identity]) await beats(address, each);
    expect(w3.tlsInfo).toMatchObject(issuerInfo(w1.rootPem));
  });

  it("to an external CA's root has certificates signed there, which stand only when they are what was asked for", async () => {
    const { identity, store, clock, address, view, node, alive, join: joinAs } = await swarm();
    const given = await foreignRoot("outside");
    const outside = RootCA.fromPem({ certificatePem: given.certPem, keyPem: given.keyPem });
    const cfssl = await CfsslServer.start(outside, identity.rootPem + given.certPem);
    cleanups.push(() => cfssl.stop());
    const w1 = await joinAs("w1");
    const caConfig = CAConfig.create({
      ...view().spec.caConfig,
      signingCaCert: Buffer.from(given.certPem),
      externalCas: [ExternalCA.create({ url: cfssl.url, caCert: Buffer.from(given.certPem) })],
    });
    const rootCa = await nextRootCa(view(), caConfig, { clock: systemClock, identity });
    // First it answers with certificates of a root of its own choice, then not at all.
    cfssl.signsWith = await RootCA.create(Date.now());
    await store.update((tx) => tx.clusters.update({ ...view(), rootCa, spec: { ...view().spec, caConfig } }));
    await expect(joinAs("w2")).rejects.toThrow(
      /external CA's certificate is refused: .*not signed by this cluster's root/,
    );
    cfssl.signsWith = undefined;
    cfssl.answers = () => ({ status: 503, body: "closed" });
    await expect(joinAs("w2")).rejects.toMatchObject({ code: "Unavailable", message: /503: closed/ });
    alive(identity);
    await turnUntil(clock, () => node(identity.nodeId)?.certificate.status.state === RENEW);
    cfssl.answers = undefined;
    alive(w1);
    await turnUntil(clock, () => view().rootCa.rootRotation === undefined);
    expect(pemText(view().rootCa.caCert)).toBe(given.certPem);
    expect(view().rootCa.caKey).toHaveLength(0);
    await expect.poll(() => w1.rootPem).toBe(given.certPem);
    const hosts = expect.arrayContaining([w1.nodeId, "swarm-worker"]);
    expect(cfssl.requests).toContainEqual(expect.objectContaining({ hosts }));
    for (const each of [identity, w1, await joinAs("w3")]) await beats(address, each);
  });
});

describe("who is asked to renew", () => {
  const nodes = (count: number, state: IssuanceStatus_State) =>
    Array.from({ length: count }, (_, at) =>
      Node.create({
        id: `n${at}`,
        certificate: {
          role: NodeRole.WORKER,
          csr: new Uint8Array(),
          status: IssuanceStatus.create({ state }),
          certificate: new Uint8Array(),
          cn: "",
        },
      }),
    );

  it("is a batch of those that do not renew already", () => {
    expect(planAsking(nodes(200, ISSUED), new Map(), 0)).toHaveLength(rotationBatch);
    for (const state of [RENEW, ROTATE, IssuanceStatus_State.PENDING]) {
      expect(planAsking(nodes(3, state), new Map(), 0)).toEqual([]);
    }
    expect(planAsking(nodes(3, IssuanceStatus_State.FAILED), new Map(), 0)).toEqual(["n0", "n1", "n2"]);
  });

  it("is asked again when its new certificate does not show for 20 s", () => {
    const asked = new Map([["n0", 1_000]]);
    expect(planAsking(nodes(1, ISSUED), asked, 20_999)).toEqual([]);
    expect(planAsking(nodes(1, ISSUED), asked, 21_000)).toEqual(["n0"]);
  });

  it("counts nodes that have not said what they trust", () => {
    const issuer = { certIssuerSubject: new Uint8Array([1]), certIssuerPublicKey: new Uint8Array([2]) };
    const [silent, other, right] = nodes(3, ISSUED);
    const telling = (node: Node, key: number) => ({
      ...node,
      description: NodeDescription.create({
        tlsInfo: {
          trustRoot: new Uint8Array(),
          certIssuerSubject: new Uint8Array([1]),
          certIssuerPublicKey: new Uint8Array([key]),
        },
      }),
    });
    const lacking = nodesWithout(issuer, [silent!, telling(other!, 3), telling(right!, 2)]);
    expect(lacking.map(({ id }) => id)).toEqual(["n0", "n1"]);
  });
});
