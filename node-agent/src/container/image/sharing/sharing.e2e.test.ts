import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { createServer, request, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ContainerSpec, LayerSharingRequest, Node, NodeStatus, Task, TaskSpec, TaskState } from "@starling/api";
import { anonymous, type CallContext } from "@starling/api/rpc";
import { type Clock, newId, nullLogger, systemClock } from "@starling/base";
import { newCertificateRequest, RootCA } from "@starling/ca";
import { createLayerSharingHandlers } from "@starling/dispatcher";
import { defaultRegistrySettings, RegistryClient } from "@starling/registry";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { goArchitecture } from "../../describe.ts";
import { TestRegistry } from "../../test-registry.ts";
import { ImageStore } from "../image-store.ts";
import { ImagePuller } from "../puller.ts";
import { LayerSharing } from "./layer-sharing.ts";
import type { PeerTls } from "./tls.ts";

const organization = newId();
/** Retries at once. */
const clock = { ...systemClock, sleep: async () => {} };
const { signal } = new AbortController();
let root: RootCA;
let folder: string;
let registry: TestRegistry;
let store: MemoryStore;
let leader: ReturnType<typeof createLayerSharingHandlers>;
let stop: AbortController;
/** Ends the leader's streams. */
let term: AbortController;
const nodes: TestNode[] = [];
const rogues: Server[] = [];

beforeAll(async () => {
  root = await RootCA.create(Date.now());
});
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-sharing-"));
  registry = await TestRegistry.start();
  store = new MemoryStore({ clock });
  leader = createLayerSharingHandlers({ store, clock: systemClock, log: nullLogger });
  stop = new AbortController();
  term = new AbortController();
});
afterEach(async () => {
  stop.abort();
  for (const node of nodes.splice(0)) await node.close();
  for (const server of rogues.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await registry.stop();
  rmSync(folder, { recursive: true });
});

async function tlsOf(nodeId: string, signer = root): Promise<PeerTls> {
  const { csrPem, keyPem } = await newCertificateRequest();
  const subject = { nodeId, role: "swarm-worker", organization };
  const cert = await signer.signRequest(Buffer.from(csrPem), subject, { now: Date.now() });
  const context = { ca: root.certificatePem, cert, key: keyPem };
  return { context: () => context, organization: () => organization, onChange: () => () => {} };
}

/** Makes the managers know the node, with a task of the image unless it has none. */
async function admit(nodeId: string, image: string | undefined): Promise<void> {
  await store.update((tx) => {
    tx.nodes.create(Node.create({ id: nodeId, status: NodeStatus.create({ addr: "127.0.0.1" }) }));
    if (image === undefined) return;
    const spec = TaskSpec.create({ container: ContainerSpec.create({ image }) });
    tx.tasks.create(Task.create({ id: newId(), nodeId, spec, desiredState: TaskState.RUNNING }));
  });
}

function contextOf(nodeId: string, streamSignal: AbortSignal): CallContext {
  return { caller: { ...anonymous, nodeId }, signal: streamSignal } as unknown as CallContext;
}

/** Nodes that have begun to talk to the present leader. */
const told = new Set<string>();

async function* noted(requests: AsyncIterable<LayerSharingRequest>, nodeId: string) {
  for await (const request of requests) {
    told.add(nodeId);
    yield request;
  }
}

/** All streams end; the nodes come to a leader that knows nothing. */
function changeLeaders(): void {
  told.clear();
  leader = createLayerSharingHandlers({ store, clock: systemClock, log: nullLogger });
  term.abort();
  term = new AbortController();
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve));
}

/** A node as swarmd has it, talking to the leader without a wire. */
class TestNode {
  readonly id: string;
  readonly store: ImageStore;
  readonly sharing: LayerSharing;
  readonly puller: ImagePuller;
  readonly #client: RegistryClient;

  private constructor(id: string, images: ImageStore, sharing: LayerSharing) {
    this.id = id;
    this.store = images;
    this.sharing = sharing;
    this.#client = new RegistryClient({ settings: defaultRegistrySettings, clock });
    const platform = { os: "linux", architecture: goArchitecture() };
    this.puller = new ImagePuller({ store: images, registry: this.#client, sharing, platform, clock, log: nullLogger });
  }

  static async start(
    id: string,
    { image = registry.pinned, clock: own = systemClock }: { readonly image?: string; readonly clock?: Clock } = {},
  ): Promise<TestNode> {
    await admit(id, image);
    const images = new ImageStore(join(folder, id));
    await images.open();
    const address = { host: "127.0.0.1", port: 0 };
    const options = { blobs: images.blobs, clock: own, log: nullLogger, address, tls: await tlsOf(id) };
    const sharing = new LayerSharing(options);
    await sharing.open();
    const node = new TestNode(id, images, sharing);
    nodes.push(node);
    node.follow();
    return node;
  }

  follow(): void {
    const open = (requests: AsyncIterable<LayerSharingRequest>, streamSignal: AbortSignal) =>
      leader.share(noted(requests, this.id), contextOf(this.id, AbortSignal.any([streamSignal, term.signal])));
    void this.sharing.follow(open, stop.signal);
  }

  pull(image: string = registry.pinned) {
    return this.puller.pull(image, { registryAuth: "", signal });
  }

  /** All of the image's blobs are told to the leader once they are here: they are synced by then. */
  async committed(): Promise<void> {
    await until(async () => (await this.store.blobs.list()).length === 4);
  }

  async close(): Promise<void> {
    this.puller.close();
    this.#client.close();
    await this.sharing.close();
  }
}

/** A node of the cluster that says it has what `source` has, and gives what `give` makes of it. */
async function startRogue(
  source: TestNode,
  give: (bytes: Buffer, response: ServerResponse) => void,
  { certificateOf }: { readonly certificateOf?: string } = {},
): Promise<{ readonly asked: string[] }> {
  const id = newId();
  await admit(id, registry.pinned);
  const asked: string[] = [];
  const { context } = await tlsOf(certificateOf ?? id);
  const server = createServer({ ...context(), requestCert: true }, (incoming, response) => {
    const digest = incoming.url!.split("/").at(-1)!;
    asked.push(digest);
    const from = Number(/\d+/.exec(incoming.headers.range ?? "0")?.[0]);
    void readFile(source.store.blobs.path(`sha256:${digest}`)).then((bytes) => give(bytes.subarray(from), response));
  });
  rogues.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const held = (await source.store.blobs.list()).map((digest) => Buffer.from(digest.slice(7), "hex"));
  const { port } = server.address() as AddressInfo;
  const requests = (async function* () {
    yield LayerSharingRequest.create({ port, held });
    await new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve(), { once: true }));
  })();
  void (async () => {
    for await (const _ of leader.share(requests, contextOf(id, stop.signal)));
  })();
  return { asked };
}

describe("nodes that start one image together", () => {
  it("ask its registry for each piece once", async () => {
    const together = await Promise.all(Array.from({ length: 50 }, (_, i) => TestNode.start(`n${i}`)));
    const pulled = await Promise.all(together.map((node) => node.pull()));
    for (const { layers } of pulled) expect(layers).toHaveLength(2);
    expect([...registry.requestsByDigest.values()]).toEqual([1, 1, 1, 1]);
  });

  it("ask it for each piece once though the leader changes while one of them fetches it", async () => {
    const together = await Promise.all(["n1", "n2", "n3", "n4", "n5", "n6"].map((id) => TestNode.start(id)));
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    registry.layersHeld = held;
    const pulls = together.map((node) => node.pull());
    await until(() => registry.requestsByDigest.size === 4);
    changeLeaders();
    // Each has told the new leader what it has and fetches.
    await until(() => told.size === together.length);
    release();
    for (const { layers } of await Promise.all(pulls)) expect(layers).toHaveLength(2);
    expect([...registry.requestsByDigest.values()]).toEqual([1, 1, 1, 1]);
  });

  it("do without the registry when one of them has it", async () => {
    const first = await TestNode.start("n1");
    await first.pull();
    await first.committed();
    const { pinned } = registry;
    await registry.stop();
    const second = await TestNode.start("n2", { image: pinned });
    expect((await second.pull(pinned)).digest).toBe((await first.pull(pinned)).digest);
  });

  it("go to the registry, each for itself, while there are no managers", async () => {
    const both = await Promise.all(["n1", "n2"].map((id) => TestNode.start(id)));
    stop.abort();
    for (const node of both) expect((await node.pull()).layers).toHaveLength(2);
    expect(Math.max(...registry.requestsByDigest.values())).toBe(2);
  });
});

describe("a node that gives", () => {
  it("something else than it says: that is refused, and had elsewhere", async () => {
    const first = await TestNode.start("n1");
    await first.pull();
    await first.committed();
    await first.close();
    const rogue = await startRogue(first, (bytes, response) => response.end(Buffer.alloc(bytes.length, 7)));
    const before = registry.requests.length;
    const second = await TestNode.start("n2");
    const { layers } = await second.pull();
    expect(layers).toHaveLength(2);
    expect(rogue.asked.length).toBeGreaterThan(0);
    expect(registry.requests.length).toBeGreaterThan(before);
  });

  it("under another node's name is asked for nothing", async () => {
    const first = await TestNode.start("n1");
    await first.pull();
    await first.committed();
    await first.close();
    const give = (bytes: Buffer, response: ServerResponse) => void response.end(bytes);
    const rogue = await startRogue(first, give, { certificateOf: "n3" });
    const second = await TestNode.start("n2");
    expect((await second.pull()).layers).toHaveLength(2);
    expect(rogue.asked).toEqual([]);
    // Once by each of the two that pulled.
    expect([...registry.requestsByDigest.values()]).toEqual([2, 2, 2, 2]);
  });

  it("next to nothing is left after a while, and the rest comes from elsewhere", async () => {
    const first = await TestNode.start("n1");
    await first.pull();
    await first.committed();
    await first.close();
    const begun: ServerResponse[] = [];
    // From there on patience ends fifty times sooner.
    const setTimer = (ms: number, fire: () => void) => systemClock.setTimer(begun.length > 0 ? ms / 50 : ms, fire);
    const hasty: Clock = { ...systemClock, setTimer };
    await startRogue(first, (bytes, response) => {
      if (bytes.length < 100_000) return void response.end(bytes);
      begun.push(response);
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 70_000));
    });
    const second = await TestNode.start("n2", { clock: hasty });
    expect((await second.pull()).layers).toHaveLength(2);
    expect(begun.length).toBeGreaterThan(0);
    expect(Number(/\d+/.exec(registry.ranges.at(-1)!))).toBeGreaterThan(0);
  });

  it("breaks off in the middle: the rest comes from elsewhere", async () => {
    const first = await TestNode.start("n1");
    await first.pull();
    await first.committed();
    const half = 300_000;
    let isCut = false;
    const rogue = await startRogue(first, (bytes, response) => {
      if (bytes.length <= half) return void response.end(bytes);
      isCut = true;
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, half), () => response.destroy());
    });
    // Only the rogue is left to begin with; then the registry, from where it stopped.
    await first.close();
    registry.ranges.length = 0;
    const second = await TestNode.start("n2");
    expect((await second.pull()).layers).toHaveLength(2);
    expect(isCut).toBe(true);
    expect(rogue.asked.length).toBeGreaterThan(1);
    expect(Number(/\d+/.exec(registry.ranges[0]!))).toBeGreaterThan(0);
  });
});

describe("who asks a node for a blob", () => {
  /** The status of a request, or why there is none. */
  async function ask(node: TestNode, path: string, tls: object): Promise<number | string> {
    return await new Promise((resolve) => {
      const options = { ...tls, agent: false as const, checkServerIdentity: () => undefined };
      const call = request(`https://127.0.0.1:${node.sharing.port}${path}`, options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      call.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
      call.end();
    });
  }

  it("must be of the cluster, have been granted the image, and ask for a part of it", async () => {
    const holder = await TestNode.start("n1");
    await holder.pull();
    await holder.committed();
    const image = registry.pinned.split("sha256:")[1]!;
    const layer = (await holder.store.blobs.list()).map((digest) => digest.slice(7)).find((hex) => hex !== image)!;
    const friend = (await tlsOf("n2")).context();
    const none = { ca: root.certificatePem };
    const stranger = { ...(await tlsOf("n2", await RootCA.create(Date.now()))).context(), ...none };
    expect(await ask(holder, `/${image}/${layer}`, none)).toMatch(/CERTIFICATE_REQUIRED|ECONNRESET/);
    expect(await ask(holder, `/${image}/${layer}`, stranger)).toMatch(/UNKNOWN_CA|ECONNRESET/);
    expect(await ask(holder, `/${image}/${layer}`, friend)).toBe(403);
    holder.sharing.allow("n2", image);
    expect(await ask(holder, `/${image}/${layer}`, friend)).toBe(200);
    expect(await ask(holder, `/${image}/${"0".repeat(64)}`, friend)).toBe(404);
    expect(await ask(holder, `/../${layer}`, friend)).toBe(404);
  });
});
