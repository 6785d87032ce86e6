import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { nullLogger, systemClock } from "@starling/base";
import { defaultRegistrySettings, RegistryClient } from "@starling/registry";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { goArchitecture } from "../describe.ts";
import { dockerArchive, tarOf } from "../test-archives.ts";
import { TestRegistry } from "../test-registry.ts";
import { type LoadedImage, loadImages } from "./image-loader.ts";
import { saveImages } from "./image-saver.ts";
import { ImageStore } from "./image-store.ts";
import { ImagePuller } from "./puller.ts";

let folder: string;
let registry: TestRegistry;
let client: RegistryClient;
const clock = { ...systemClock, sleep: async () => {} };
const { signal } = new AbortController();
const platform = { os: "linux", architecture: goArchitecture() };

/** A node's images, in a folder of their own. */
async function openHost(name: string) {
  const store = new ImageStore(join(folder, name));
  await store.open();
  const puller = new ImagePuller({ store, registry: client, platform, clock, log: nullLogger });
  const makeRoom = async () => false;
  const context = { store, layers: puller.layers, platform, clock, log: nullLogger, makeRoom };
  return {
    store,
    pull: (reference: string) => puller.pull(reference, { registryAuth: "", signal }),
    load: async (archive: Uint8Array, reference = "") => {
      const images: LoadedImage[] = [];
      for await (const image of loadImages(chunks(archive), context, { reference, signal })) images.push(image);
      return images;
    },
    save: async (digest: string, references: readonly string[]) => {
      const pieces: Uint8Array[] = [];
      for await (const piece of saveImages([{ digest, references }], store)) pieces.push(piece);
      return Buffer.concat(pieces);
    },
  };
}

/** An archive in pieces that end anywhere. */
async function* chunks(archive: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < archive.length; at += 70_001) yield archive.subarray(at, at + 70_001);
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-archives-"));
  registry = await TestRegistry.start();
  client = new RegistryClient({ settings: defaultRegistrySettings, clock });
});
afterEach(async () => {
  await client.close();
  await registry.stop();
  rmSync(folder, { recursive: true });
});

describe("archives of images", () => {
  it("that are saved are loaded again, byte for byte the same, and used without asking a registry", async () => {
    const [first, second] = [await openHost("first"), await openHost("second")];
    const { digest } = await first.pull(registry.image);
    const archive = await first.save(digest, [registry.image]);
    expect(await second.load(archive)).toMatchObject([{ digest, references: [registry.image] }]);
    expect((await second.save(digest, [registry.image])).equals(archive)).toBe(true);
    const before = registry.requests.length;
    const { layers } = await second.pull(registry.image);
    expect(registry.requests.length).toBe(before);
    expect(readFileSync(join(layers[0]!, "added"), "utf8")).toBe("by the second layer\n");
  });

  it("that are saved are read by skopeo as docker's and as an OCI layout", async () => {
    const first = await openHost("first");
    const { digest } = await first.pull(registry.image);
    const path = join(folder, "saved.tar");
    writeFileSync(path, await first.save(digest, ["app:1"]));
    const inspect = (transport: string) =>
      JSON.parse(execFileSync("skopeo", ["inspect", `${transport}:${path}`], { encoding: "utf8" })) as {
        readonly Digest: string;
        readonly Env: readonly string[];
        readonly Layers: readonly string[];
      };
    expect(inspect("oci-archive")).toMatchObject({ Digest: digest, Env: ["PATH=/bin", "FROM_IMAGE=yes"] });
    expect(inspect("docker-archive").Layers).toHaveLength(2);
    // Both forms, written anew by skopeo, are the same image again.
    for (const transport of ["docker-archive", "oci-archive"]) {
      const copy = join(folder, `${transport}.tar`);
      execFileSync("skopeo", [
        "copy",
        "--quiet",
        `oci-archive:${path}`,
        `${transport}:${copy}:app:2`,
        "--insecure-policy",
      ]);
      const host = await openHost(transport);
      const [image] = await host.load(readFileSync(copy));
      expect(image?.references).toEqual(["app:2"]);
      const { layers, config } = (await host.store.image(image!.digest))!;
      expect(config.env).toContain("FROM_IMAGE=yes");
      expect(readFileSync(join(layers[0]!, "added"), "utf8")).toBe("by the second layer\n");
    }
  });

  it.each([
    ["plain", (bytes: Buffer) => bytes],
    ["compressed by gzip", (bytes: Buffer) => gzipSync(bytes)],
    ["compressed by zstd", (bytes: Buffer) => zstdCompressSync(bytes)],
  ])("of docker's old form are loaded: %s", async (_name, compress) => {
    const host = await openHost("host");
    const [image] = await host.load(compress(dockerArchive()));
    expect(image!.references).toEqual(["app:1"]);
    const { layers } = (await host.store.image(image!.digest))!;
    expect(layers.map((path) => readdirSync(join(path, "etc")))).toEqual([["other"], ["name"]]);
    expect((await host.pull("app:1")).digest).toBe(image!.digest);
    expect(readdirSync(host.store.tmp)).toEqual([]);
  });

  it("without a name get the one that is asked for", async () => {
    const host = await openHost("host");
    expect(await host.load(dockerArchive({ tags: [] }), "own.example/app")).toMatchObject([
      { references: ["own.example/app:latest"] },
    ]);
  });

  it.each([
    ["a path that leads out of it", () => dockerArchive({ path: "../../../etc/passwd" }), /is missing/],
    ["a link that leads out of it", () => tarOf({}, { "a/link": "../../etc/passwd" }), /leads out of it/],
    ["an absolute link", () => tarOf({}, { link: "/etc/passwd" }), /leads out of it/],
    ["nothing for this machine", () => dockerArchive({ architecture: "mips" }), /nothing for this node/],
    ["no image", () => tarOf({ readme: "hello" }), /no image in it/],
    ["no archive at all", () => Buffer.alloc(2000, "x"), /not a tar archive/],
    ["its end missing", () => dockerArchive().subarray(0, 3000), /ends in the middle/],
    ["its compressed end missing", () => gzipSync(dockerArchive()).subarray(0, 300), /not valid gzip data/],
    ["xz", () => Buffer.from("fd377a585a00000000", "hex"), /xz or bzip2/],
    [
      "a layer that is not what its config says",
      () => {
        const config = JSON.stringify({ rootfs: { type: "layers", diff_ids: [`sha256:${"0".repeat(64)}`] } });
        const manifest = JSON.stringify([{ Config: "c.json", RepoTags: ["a:1"], Layers: ["l.tar"] }]);
        return tarOf({ "c.json": config, "l.tar": tarOf({ a: "b" }), "manifest.json": manifest });
      },
      /its image says/,
    ],
    [
      "a blob that is not what its name says",
      () => {
        const digest = `sha256:${"1".repeat(64)}`;
        const index = { schemaVersion: 2, manifests: [{ mediaType: "", digest, size: 2 }] };
        return tarOf({ "index.json": JSON.stringify(index), [`blobs/sha256/${"1".repeat(64)}`]: "{}" });
      },
      /damaged/,
    ],
  ])("are refused with %s", async (_name, make, error) => {
    const host = await openHost("host");
    await expect(host.load(make())).rejects.toThrow(error);
    expect(await host.store.list()).toEqual([]);
    expect(await host.store.references()).toEqual([]);
    expect(readdirSync(host.store.tmp)).toEqual([]);
  });
});
