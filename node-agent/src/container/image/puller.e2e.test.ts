import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { nullLogger, systemClock } from "@starling/base";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { goArchitecture } from "../describe.ts";
import { TestRegistry } from "../test-registry.ts";
import { ImageStore } from "./image-store.ts";
import { ImagePuller } from "./puller.ts";
import { RegistryClient } from "./registry.ts";

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
  client = new RegistryClient({ insecureRegistries: [], now: () => 0 });
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

  it("says which image does not exist", async () => {
    await expect(puller.pull(registry.image.replace("box:1", "box:2"), options)).rejects.toThrow(
      /^No such image: .*box:2$/,
    );
  });
});
