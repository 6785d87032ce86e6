import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import {
  Annotations,
  CA,
  Control,
  CreateSecretRequest,
  GetUnlockKeyRequest,
  KeyRotation,
  ListClustersRequest,
  ListSecretsRequest,
  lockedMessage,
  registry,
  SecretSpec,
  Unlock,
  UnlockRequest,
  UpdateClusterRequest,
} from "@starling/api";
import { RpcClient } from "@starling/api/rpc";
import { newId, nullLogger, systemClock, systemRandom } from "@starling/base";
import { bootstrapIdentity, NodeIdentity } from "@starling/ca";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { awaitUnlock } from "./locked.ts";
import { Manager } from "./manager.ts";

let dir: string;
let socket: string;
let address: string;
let manager: Manager | undefined;
let client: RpcClient | undefined;
let lockedCount = 0;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "starling-autolock-"));
  socket = join(dir, "control.sock");
  address = await freeAddress();
  lockedCount = 0;
});

afterEach(async () => {
  await stop();
  await rm(dir, { recursive: true, force: true });
});

const stateDir = () => join(dir, "state");

async function start(identity: NodeIdentity, options: { readonly autolock?: boolean } = {}): Promise<RpcClient> {
  manager = await Manager.start({
    ...options,
    identity,
    stateDir: stateDir(),
    listenRemoteApi: address,
    advertiseRemoteApi: address,
    listenControlApi: socket,
    raftTiming: { tickMs: 10 },
    clock: systemClock,
    random: systemRandom,
    log: nullLogger,
    onLocked: () => void lockedCount++,
    onRemoved: () => undefined,
    onFatal: (error) => {
      throw error;
    },
  });
  client = connect();
  return client;
}

async function stop(): Promise<void> {
  client?.close();
  await manager?.stop();
  client = undefined;
  manager = undefined;
}

const connect = () => new RpcClient(`unix:${socket}`, grpc.credentials.createInsecure());

/** Switches autolock or rotates its key; resolves with the key once this manager's keys follow, all of them. */
async function setAutolock(identity: NodeIdentity, to: { readonly on: boolean; readonly rotate?: boolean }) {
  const { clusters } = await client!.call(Control.methods.listClusters, ListClustersRequest.create());
  const { id, meta, spec } = clusters[0]!;
  const request = UpdateClusterRequest.create({
    clusterId: id,
    clusterVersion: meta.version,
    spec: { ...spec, encryptionConfig: { autoLockManagers: to.on } },
    rotation: KeyRotation.create({ managerUnlockKey: to.rotate ?? false }),
  });
  const before = identity.sealing.raft!.pending ?? identity.sealing.raft!.current;
  await client!.call(Control.methods.updateCluster, request);
  await rotated(identity, before);
  return (await client!.call(CA.methods.getUnlockKey, GetUnlockKeyRequest.create())).unlockKey;
}

async function rotated(identity: NodeIdentity, before: Uint8Array): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await systemClock.sleep(5)) {
    const { current, pending, needsRotation } = identity.sealing.raft!;
    if (!pending && !needsRotation && Buffer.compare(current, before) !== 0) return;
  }
  throw new Error("the data key was not rotated");
}

const secretText = `hush-${newId()}`;

async function createSecret(): Promise<void> {
  const annotations = Annotations.create({ name: "hush" });
  const spec = SecretSpec.create({ annotations, data: Buffer.from(secretText) });
  const request = CreateSecretRequest.create({ spec });
  await client!.call(Control.methods.createSecret, request);
}

const secretNames = async () =>
  (await client!.call(Control.methods.listSecrets, ListSecretsRequest.create())).secrets.map(
    ({ spec }) => spec.annotations.name,
  );

/** Files of the state folder that hold one of `needles`. */
async function filesWith(...needles: readonly string[]): Promise<string[]> {
  const names = await readdir(stateDir(), { recursive: true, withFileTypes: true });
  const files = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  expect(files.some((file) => file.endsWith(".wal"))).toBe(true);
  const contents = await Promise.all(files.map(async (file) => ({ file, bytes: await readFile(file) })));
  return contents
    .filter(({ bytes }) => needles.some((needle) => bytes.includes(needle, 0, "latin1")))
    .map(({ file }) => file);
}

describe("a manager's state folder", () => {
  it("shows no secret: not in the log, not in a snapshot, and no key once it is locked", async () => {
    const identity = await bootstrapIdentity(stateDir(), systemClock);
    await start(identity);
    await createSecret();
    expect(await filesWith(secretText)).toEqual([]);
    const unlocked = identity.sealing.raft!.current;
    expect(await filesWith(Buffer.from(unlocked).toString("base64"))).toEqual([
      join(stateDir(), "certificates", "swarm-node.key"),
    ]);
    const unlockKey = await setAutolock(identity, { on: true });
    const names = await readdir(join(stateDir(), "raft", "snapshots"));
    expect(names.filter((name) => name.endsWith(".snap"))).toHaveLength(1);
    const keys = [unlocked, identity.sealing.raft!.current, unlockKey];
    const texts = keys.flatMap((key) =>
      ["latin1", "base64"].map((form) => Buffer.from(key).toString(form as BufferEncoding)),
    );
    expect(await filesWith(secretText, ...texts)).toEqual([]);
    expect(await secretNames()).toEqual(["hush"]);
  });
});

describe("autolock", () => {
  it("locks, locks anew and unlocks the keys of a manager that runs; a restart needs the present key", async () => {
    const identity = await bootstrapIdentity(stateDir(), systemClock);
    await start(identity);
    await createSecret();
    const first = await setAutolock(identity, { on: true });
    expect(lockedCount).toBe(1);
    await stop();
    await expect(NodeIdentity.load(stateDir(), systemClock)).rejects.toThrow(lockedMessage);
    const reopened = (await NodeIdentity.load(stateDir(), systemClock, first))!;
    await start(reopened);
    expect(await secretNames()).toEqual(["hush"]);
    const second = await setAutolock(reopened, { on: true, rotate: true });
    expect(lockedCount).toBe(1);
    await stop();
    await expect(NodeIdentity.load(stateDir(), systemClock, first)).rejects.toThrow(/invalid unlock key/);
    const again = (await NodeIdentity.load(stateDir(), systemClock, second))!;
    await start(again);
    expect(await setAutolock(again, { on: false })).toHaveLength(0);
    await stop();
    await start((await NodeIdentity.load(stateDir(), systemClock))!);
    expect(await secretNames()).toEqual(["hush"]);
  });

  it("may be on from a swarm's first moment", async () => {
    const identity = await bootstrapIdentity(stateDir(), systemClock);
    await start(identity, { autolock: true });
    const { unlockKey } = await client!.call(CA.methods.getUnlockKey, GetUnlockKeyRequest.create());
    expect(unlockKey).toHaveLength(32);
    for (; !(await NodeIdentity.isLocked(stateDir())); await systemClock.sleep(5));
    await stop();
    expect(await NodeIdentity.load(stateDir(), systemClock, unlockKey)).toBeDefined();
  });

  it("finishes, after a restart, a rotation that was cut short", async () => {
    const identity = await bootstrapIdentity(stateDir(), systemClock);
    await start(identity);
    await createSecret();
    await stop();
    const { current } = identity.sealing.raft!;
    // As a crash leaves it between the write of the key file and raft's first use of the new key.
    await identity.seal((sealing) => ({ ...sealing, raft: { current, pending: new Uint8Array(32).fill(9) } }));
    const reopened = (await NodeIdentity.load(stateDir(), systemClock))!;
    await start(reopened);
    await rotated(reopened, current);
    expect(reopened.sealing.raft!.current).toEqual(new Uint8Array(32).fill(9));
    expect(await secretNames()).toEqual(["hush"]);
  });
});

describe("a locked manager", () => {
  const waiting = (open: (key: Uint8Array) => Promise<string>, signal = new AbortController().signal) =>
    awaitUnlock({ path: socket, open, clock: systemClock, log: nullLogger, signal });
  const answers = async () => {
    for (let up = false; !up; ) {
      up = (await readdir(dir)).includes("control.sock");
      if (!up) await systemClock.sleep(5);
    }
    client = connect();
    return client;
  };

  it("says so to every call but Unlock, and goes on with the right key", async () => {
    const opened = waiting(async (key) => {
      if (key[0] === 1) return "open";
      throw new Error("invalid unlock key");
    });
    const calls = await answers();
    const unlock = (unlockKey: Uint8Array) => calls.call(Unlock.methods.unlock, UnlockRequest.create({ unlockKey }));
    const methods = Object.values(registry.services)
      .filter(({ name }) => name !== Unlock.name)
      .flatMap((service) => Object.values(service.methods));
    expect(methods.length).toBeGreaterThan(60);
    const raw = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure());
    for (const { path, requestStream } of methods) {
      const bytes = (value: Buffer) => value;
      const call = raw.makeBidiStreamRequest(path, bytes, bytes);
      call.on("error", () => undefined); // Told by the status.
      call.on("data", () => undefined);
      const status = new Promise<grpc.StatusObject>((resolve) => call.on("status", resolve));
      if (!requestStream) call.write(Buffer.alloc(0));
      call.end();
      expect({ path, said: (await status).details }).toEqual({ path, said: lockedMessage });
    }
    raw.close();
    await expect(unlock(new Uint8Array(32))).rejects.toThrow(/invalid unlock key/);
    await unlock(new Uint8Array(32).fill(1));
    expect(await opened).toBe("open");
    await expect(unlock(new Uint8Array(32))).rejects.toMatchObject({ code: "Unavailable" });
  });

  it("ends when it is told to", async () => {
    const stopping = new AbortController();
    const opened = expect(waiting(async () => "never", stopping.signal)).rejects.toThrow("enough");
    await answers();
    stopping.abort(new Error("enough"));
    await opened;
  });

  it("that runs has nothing to unlock", async () => {
    const calls = await start(await bootstrapIdentity(stateDir(), systemClock));
    await expect(calls.call(Unlock.methods.unlock, UnlockRequest.create())).rejects.toThrow(/swarm is not locked/);
  });
});

async function freeAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `127.0.0.1:${port}`;
}
