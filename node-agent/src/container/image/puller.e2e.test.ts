import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nullLogger, systemClock } from "@starling/base";
import { defaultRegistrySettings, RegistryClient } from "@starling/registry";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { goArchitecture } from "../describe.ts";
import { TestRegistry } from "../test-registry.ts";
import { ImageStore } from "./image-store.ts";
import { ImagePuller } from "./puller.ts";

let folder: string;
let registry: TestRegistry;
let client: RegistryClient;
let puller: ImagePuller;
/** Tries again at once. */
const clock = { ...systemClock, sleep: async () => {} };
const options = { registryAuth: "", signal: new AbortController().signal };

async function newPuller(): Promise<ImagePuller> {
  const store = new ImageStore(join(folder, "images"));
  await store.open();
  const platform = { os: "linux", architecture: goArchitecture() };
  return new ImagePuller({ store, registry: client, platform, clock, log: nullLogger });
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-images-"));
  registry = await TestRegistry.start();
  client = new RegistryClient({ settings: defaultRegistrySettings, clock });
  puller = await newPuller();
});
afterEach(async () => {
  await client.close();
  await registry.stop();
  rmSync(folder, { recursive: true });
});

const blobRequests = () => registry.requests.filter((url) => url.includes("/blobs/")).length;

describe("ImagePuller", () => {
  it("downloads once for all who want it", async () => {
    const [a, b] = await Promise.all([puller.pull(registry.image, options), puller.pull(registry.image, options)]);
    expect(a).toEqual(b);
    expect(a.layers).toHaveLength(2);
    expect(blobRequests()).toBe(3);
    await (await newPuller()).pull(registry.image, options);
    expect(blobRequests()).toBe(3);
  });

  it("asks nobody for a digest that is here", async () => {
    const { digest } = await puller.pull(registry.image, options);
    const pinned = `${registry.image}@${digest}`;
    await puller.pull(pinned, options);
    const before = registry.requests.length;
    expect((await puller.pull(pinned, options)).digest).toBe(digest);
    expect(registry.requests.length).toBe(before);
  });

  it("takes what it has when the registry is away", async () => {
    const image = registry.image;
    const { digest } = await puller.pull(image, options);
    await registry.stop();
    expect((await puller.pull(image, options)).digest).toBe(digest);
  });

  it("keeps nothing of a layer that is not what its digest says", async () => {
    registry.damageLayers();
    await expect(puller.pull(registry.image, options)).rejects.toThrow(
      /^image .*: layer sha256:.* gave content with digest/,
    );
    registry.repairLayers();
    expect((await puller.pull(registry.image, options)).layers).toHaveLength(2);
  });

  it("goes on where a connection broke", async () => {
    registry.cutAfter = 300_000;
    const messages: string[] = [];
    const { layers } = await puller.pull(registry.image, {
      ...options,
      onProgress: (message) => messages.push(message),
    });
    expect(layers).toHaveLength(2);
    const offsets = registry.ranges.map((range) => Number(/\d+/.exec(range)));
    expect(offsets.length).toBeGreaterThan(1);
    expect(offsets[0]).toBeGreaterThan(0);
    expect(offsets[1]).toBeGreaterThan(offsets[0]!);
  });

  it("goes on where a pull before a restart ended", async () => {
    registry.cutAfter = 300_000;
    const pull = puller.pull(registry.image, options);
    pull.catch(() => {});
    while (registry.ranges.length === 0) await new Promise((resolve) => setImmediate(resolve));
    puller.close();
    await expect(pull).rejects.toThrow();
    registry.cutAfter = undefined;
    const before = registry.ranges.length;
    expect((await (await newPuller()).pull(registry.image, options)).layers).toHaveLength(2);
    expect(Number(/\d+/.exec(registry.ranges[before]!))).toBeGreaterThan(0);
  });

  it("starts over when what was kept of a download is not what it should be", async () => {
    registry.cutAfter = 1;
    await expect(puller.pull(registry.image, options)).rejects.toThrow(/download ended at/);
    registry.cutAfter = undefined;
    for (const name of readdirSync(join(folder, "images/ingest"))) {
      writeFileSync(join(folder, "images/ingest", name), Buffer.from([0x1f, 0x8b, 0x00, 0x00]));
    }
    expect((await puller.pull(registry.image, options)).layers).toHaveLength(2);
  });

  it("uses nothing that a boot before this one may have left torn", async () => {
    const { layers } = await puller.pull(registry.image, options);
    const name = layers[0]!.split("/").at(-1)!;
    writeFileSync(join(folder, "images/unsynced", name), "another boot");
    rmSync(join(layers[0]!, "added"));
    const before = blobRequests();
    const again = await (await newPuller()).pull(registry.image, options);
    expect(readFileSync(join(again.layers[0]!, "added"), "utf8")).toBe("by the second layer\n");
    expect(blobRequests() - before).toBeLessThanOrEqual(1);
  });

  it("says which image does not exist", async () => {
    await expect(puller.pull(registry.image.replace("box:1", "box:2"), options)).rejects.toThrow(
      /^No such image: .*box:2$/,
    );
  });
});
