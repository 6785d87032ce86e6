import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeClock, nullLogger, systemClock } from "@starling/base";
import { defaultRegistrySettings, RegistryClient } from "@starling/registry";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TemporaryError } from "../../exec/controller.ts";
import { goArchitecture } from "../describe.ts";
import { dockerArchive } from "../test-archives.ts";
import { TestRegistry } from "../test-registry.ts";
import { diskSpace } from "./disk-space.ts";
import { defaultCollectorSettings, ImageCollector } from "./image-collector.ts";
import { loadImages } from "./image-loader.ts";
import { ImageStore } from "./image-store.ts";
import { readUsage, writeUsage } from "./image-usage.ts";
import { ImagePuller } from "./puller.ts";
import { planPrune, planRemoval } from "./removal-plan.ts";

const hourMs = 3_600_000;
const platform = { os: "linux", architecture: goArchitecture() };
const everything = { all: true, untilMs: undefined, labels: [], withoutLabels: [] };

let folder: string;
let clock: FakeClock;
let client: RegistryClient;

/** A node with its images, containers' folders and collector; opened again it is as after a crash. */
async function openHost(settings: Partial<typeof defaultCollectorSettings> = {}) {
  const stateDir = join(folder, "state");
  const runDir = join(folder, "run");
  for (const path of [stateDir, runDir]) mkdirSync(join(path, "containers"), { recursive: true });
  const store = new ImageStore(join(stateDir, "images"));
  await store.open();
  const collector = new ImageCollector({
    store,
    usage: () => readUsage(stateDir, runDir),
    settings: { ...defaultCollectorSettings, freeShare: 0, ...settings },
    clock,
    log: nullLogger,
  });
  const makeRoom = () => collector.makeRoom();
  const options = { store, registry: client, platform, log: nullLogger, makeRoom };
  const puller = new ImagePuller({ ...options, clock: { ...systemClock, sleep: async () => {} } });
  const { signal } = new AbortController();
  const context = { store, layers: puller.layers, platform, clock, log: nullLogger, makeRoom };
  /** With `pulled` it looks as if it came from a registry. */
  async function load(archive: Buffer, how: "loaded" | "pulled" = "loaded"): Promise<string> {
    let digest = "";
    const bytes = (async function* () {
      yield archive;
    })();
    for await (const image of loadImages(bytes, context, { reference: "", signal })) {
      digest = image.digest;
      if (how === "pulled") for (const each of image.references) await store.setResolved(each, digest);
    }
    return digest;
  }
  /** A container of that image that runs, or has ended. */
  async function container(taskName: string, digest: string, state: "runs" | "ended") {
    const bundle = join(runDir, "containers", taskName);
    for (const path of [bundle, join(stateDir, "containers", taskName)]) mkdirSync(path);
    await writeUsage(join(stateDir, "containers", taskName), { taskName, digest });
    writeFileSync(join(bundle, "state.json"), JSON.stringify({ version: 1, shimPid: 1, cgroups: [] }));
    if (state === "ended") writeFileSync(join(bundle, "exit.json"), JSON.stringify({ version: 1, exitCode: 0 }));
  }
  const names = async () => (await collector.images()).flatMap(({ references }) => references).sort();
  const layers = () => readdirSync(join(stateDir, "images/layers")).length;
  const blobs = () => readdirSync(join(stateDir, "images/blobs/sha256")).length;
  return { store, collector, puller, signal, load, container, names, layers, blobs };
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "starling-collector-"));
  clock = new FakeClock(Date.now());
  client = new RegistryClient({ settings: defaultRegistrySettings, clock: { ...systemClock, sleep: async () => {} } });
});
afterEach(async () => {
  await client.close();
  // Fails where nothing was mounted. Lazily: a sync of what was unpacked may be under way.
  spawnSync("umount", ["--lazy", join(folder, "state")]);
  rmSync(folder, { recursive: true });
});

const upper = (name: string, bytes = 100) => ({ [name]: randomBytes(bytes) });

describe("images that are removed", () => {
  it("take along their own layers, and leave what others share", async () => {
    const host = await openHost();
    await host.load(dockerArchive({ tags: ["a:1"], upper: upper("a") }));
    const kept = await host.load(dockerArchive({ tags: ["b:1"], upper: upper("b") }));
    expect([host.layers(), host.blobs()]).toEqual([3, 3 + 2 + 2]);
    const removed = await host.collector.remove((images) => planRemoval(images, "a:1", { force: false }), {
      reason: "asked",
    });
    expect(removed.references).toEqual(["a:1"]);
    expect([host.layers(), host.blobs()]).toEqual([2, 2 + 1 + 1]);
    expect(await host.store.image(kept)).toBeDefined();
    expect(readdirSync(host.store.tmp)).toEqual([]);
  });

  it("are not in use: by containers that run, by tasks that are being prepared, by pulls under way", async () => {
    const host = await openHost();
    const [running, preparing, pulling, ended] = await Promise.all(
      ["a:1", "b:1", "c:1", "d:1"].map((tag) => host.load(dockerArchive({ tags: [tag], upper: upper(tag) }))),
    );
    await host.container("web.1.x", running!, "runs");
    await host.container("web.2.y", ended!, "ended");
    host.store.guard.use({ taskId: "t", taskName: "web.3.z" }, preparing!);
    const release = await host.store.guard.pin([pulling!]);
    await expect(
      host.collector.remove((images) => planRemoval(images, "a:1", { force: true }), { reason: "asked" }),
    ).rejects.toThrow("image a:1 is in use by task web.1.x: remove or scale down its service first");
    await host.collector.remove((images) => planPrune(images, everything), { reason: "asked" });
    expect(await host.names()).toEqual(["a:1", "b:1", "c:1"]);
    release();
    host.store.guard.unuse("t");
    await host.collector.remove((images) => planPrune(images, everything), { reason: "asked" });
    expect(await host.names()).toEqual(["a:1"]);
    expect(await host.store.image(running!)).toBeDefined();
  });

  it("leave nothing behind that is used after a crash at any step", async () => {
    const host = await openHost();
    const digest = await host.load(dockerArchive({ tags: ["a:1"] }));
    // The record went, the rest did not.
    await host.store.forget([], [digest]);
    const again = await openHost();
    expect(await again.store.image(digest)).toBeUndefined();
    expect(await again.names()).toEqual([]);
    // Leftovers are kept for a while, since a pull may go on with them, then they go.
    await again.collector.collect();
    expect(again.layers()).toBe(2);
    await clock.advance(2 * hourMs);
    await again.collector.collect();
    expect([again.layers(), again.blobs()]).toEqual([0, 0]);
    // Layers went, the record did not: the image is not whole.
    const other = await host.load(dockerArchive({ tags: ["b:1"] }));
    await host.store.layers.retire([(await host.store.layers.list())[0]!]);
    expect(await (await openHost()).store.image(other)).toBeUndefined();
  });

  it("by age were not wanted for long, did not come in an archive, and run nowhere", async () => {
    const host = await openHost({ ageMs: 24 * hourMs });
    await host.load(dockerArchive({ tags: ["loaded:1"], upper: upper("a") }));
    await host.load(dockerArchive({ tags: ["old:1"], upper: upper("b") }), "pulled");
    const running = await host.load(dockerArchive({ tags: ["running:1"], upper: upper("c") }), "pulled");
    await host.container("web.1.x", running, "runs");
    await clock.advance(23 * hourMs);
    await host.load(dockerArchive({ tags: ["new:1"], upper: upper("d") }), "pulled");
    await host.collector.collect();
    expect(await host.names()).toEqual(["loaded:1", "new:1", "old:1", "running:1"]);
    await clock.advance(2 * hourMs);
    await host.collector.collect();
    expect(await host.names()).toEqual(["loaded:1", "new:1", "running:1"]);
  });
});

describe("on a small disk", () => {
  const mount = (megabytes: number) => {
    mkdirSync(join(folder, "state"));
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", join(folder, "state")]);
  };

  it("the images that were not wanted for longest make room for a pull", async () => {
    mount(80);
    const registry = await TestRegistry.start();
    try {
      const host = await openHost();
      const old = await host.load(dockerArchive({ tags: ["old:1"], upper: upper("a", 11 << 20) }), "pulled");
      await clock.advance(hourMs);
      const used = await host.load(dockerArchive({ tags: ["used:1"], upper: upper("b", 4 << 20) }), "pulled");
      await host.container("web.1.x", used, "runs");
      writeFileSync(
        join(folder, "state/ballast"),
        Buffer.alloc((await diskSpace(join(folder, "state"))).freeBytes - (1 << 20)),
      );
      const { layers } = await host.puller.pull(registry.image, { registryAuth: "", signal: host.signal });
      expect(layers).toHaveLength(2);
      expect(await host.store.image(old)).toBeUndefined();
      expect(await host.store.image(used)).toBeDefined();
    } finally {
      await registry.stop();
    }
  });

  it("a pull that finds no room says where, and what to do", async () => {
    mount(2);
    const registry = await TestRegistry.start();
    try {
      const host = await openHost();
      const pull = host.puller.pull(registry.image, { registryAuth: "", signal: host.signal });
      await expect(pull).rejects.toThrow(TemporaryError);
      await expect(pull).rejects.toThrow(
        /^image .*box:1: no space left in \/.*state\/images \(.* free of 2\.0 MiB\): free space .*swarmctl image prune --all$/,
      );
    } finally {
      await registry.stop();
    }
  });

  it("images are removed before too little is left", async () => {
    mount(64);
    const host = await openHost({ freeShare: 0.5 });
    await host.load(dockerArchive({ tags: ["first:1"], upper: upper("a", 9 << 20) }), "pulled");
    await clock.advance(hourMs);
    await host.load(dockerArchive({ tags: ["second:1"], upper: upper("b", 9 << 20) }), "pulled");
    await clock.advance(hourMs);
    await host.collector.collect();
    expect(await host.names()).toEqual(["second:1"]);
  });
});
