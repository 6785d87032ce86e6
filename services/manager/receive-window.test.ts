import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Settings } from "node:http2";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Server } from "@grpc/grpc-js";
import { listenRemote, managerRole, workerRole } from "@starling/api/rpc";
import { newId, systemClock } from "@starling/base";
import { bootstrapIdentity, type NodeIdentity, newCertificateRequest, RootCA, serverCredentials } from "@starling/ca";
import { afterAll, beforeAll, expect, it } from "vitest";

const stateDir = mkdtempSync(join(tmpdir(), "starling-window-"));
let identity: NodeIdentity;
let own: RootCA;
let foreign: RootCA;
let server: Server;
let address: string;

beforeAll(async () => {
  identity = await bootstrapIdentity(stateDir, systemClock);
  own = (await identity.bootstrapRoot())!;
  foreign = await RootCA.create(systemClock.now());
  address = await freeAddress();
  const options = { authorize: "local", organization: () => identity.organization } as const;
  server = await listenRemote(address, serverCredentials(identity), [], options);
});

afterAll(() => {
  server.forceShutdown();
  rmSync(stateDir, { recursive: true });
});

async function freeAddress(): Promise<string> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return `127.0.0.1:${port}`;
}

/** What the server says about the windows of a caller's streams, in the order of its saying so. */
async function windowsOf(signer: RootCA, role: string, organization: string): Promise<number[]> {
  const { csrPem, keyPem } = await newCertificateRequest();
  const subject = { nodeId: newId(), role, organization };
  const cert = await signer.signRequest(Buffer.from(csrPem), subject, { now: systemClock.now() });
  const trust = { ca: own.certificatePem, checkServerIdentity: () => undefined };
  const session = connect(`https://${address}`, { ...trust, cert, key: keyPem });
  const windows: number[] = [];
  session.on("remoteSettings", ({ initialWindowSize }: Settings) => windows.push(initialWindowSize!));
  await new Promise((resolve, reject) => session.once("remoteSettings", resolve).once("error", reject));
  // Settings come in order, and all that the connection begins with come before this answer.
  await new Promise((resolve) => session.ping(resolve));
  session.close();
  return windows;
}

it("a manager of the cluster may send a mebibyte ahead, nobody else", async () => {
  const { organization } = identity;
  expect((await windowsOf(own, managerRole, organization)).at(-1)).toBe(1024 * 1024);
  for (const other of [
    windowsOf(own, workerRole, organization),
    windowsOf(own, managerRole, newId()),
    windowsOf(foreign, managerRole, organization),
  ]) {
    expect((await other).at(-1)).toBe(65_535);
  }
});
