import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { nullLogger, systemClock } from "@starling/base";
import { ImagePuller, ImageStore } from "@starling/node-agent";
import { defaultRegistrySettings, RegistryClient } from "@starling/registry";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildImages } from "./build.ts";
import { foldersWithoutTimes, gnuSparse, packSample, samples } from "./samples.ts";
import { ImageServer } from "./serve.ts";

const run = promisify(execFile);
const options = { registryAuth: "", signal: new AbortController().signal };
let folder: string;
let server: ImageServer;
let registry: RegistryClient;
let puller: ImagePuller;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "starling-compare-"));
  server = await ImageServer.start();
  for (const image of Object.values(await buildImages())) server.addBuilt(image);
  const store = new ImageStore(join(folder, "images"));
  await store.open();
  registry = new RegistryClient({ settings: defaultRegistrySettings, clock: systemClock });
  const platform = { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch };
  puller = new ImagePuller({ store, registry, platform, clock: systemClock, log: nullLogger });
}, 300_000);
afterAll(async () => {
  puller?.close();
  registry?.close();
  await server?.stop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

/** What is below a folder, or below folders (topmost first) merged by overlayfs in a mount namespace of its own. */
async function tree(folders: readonly string[]): Promise<readonly string[]> {
  const print = `exec "${process.execPath}" "${join(import.meta.dirname, "tree.ts")}"`;
  const merged = join(folder, "merged");
  const mount = `mkdir -p "${merged}" && mount -t overlay overlay -o ro,lowerdir="$1" "${merged}" && ${print} "${merged}"`;
  const script = folders.length === 1 ? `${print} "$1"` : mount;
  // Mount options must fit one page: names without their folder.
  const names = folders.map((each) => basename(each)).join(":");
  const { stdout } = await run("unshare", ["-m", "sh", "-ec", script, "sh", names], {
    cwd: dirname(folders[0]!),
    maxBuffer: 1 << 28,
  });
  return stdout.split("\n");
}

/** What skopeo and umoci make of an image. */
async function theirs(name: string): Promise<readonly string[]> {
  const layout = join(folder, "oci");
  const bundle = join(folder, "bundle");
  const tag = name.replace(/[^a-z0-9]/g, "-");
  const from = `docker://${server.address}/${name}`;
  await run("skopeo", ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", from, `oci:${layout}:${tag}`]);
  await run("umoci", ["unpack", "--image", `${layout}:${tag}`, bundle]);
  const lines = await tree([join(bundle, "rootfs")]);
  rmSync(bundle, { recursive: true });
  return lines;
}

async function ours(name: string): Promise<readonly string[]> {
  return tree((await puller.pull(`${server.address}/${name}`, options)).layers);
}

const withoutTime = (line: string) => line.replace(/"mtimeNs":"-?\d+",/, "");

describe("an image is the same tree as skopeo and umoci make of it:", () => {
  it.each(["web:1", "tools:1", "oddities:1"])("%s", async (name) => {
    expect(await ours(name)).toEqual(await theirs(name));
  });

  it.each(Object.keys(samples))("%s", async (name) => {
    server.add(
      name,
      samples[name]!.map((layer) => packSample(layer, "gzip")),
    );
    const comparable = (lines: readonly string[]) =>
      foldersWithoutTimes.has(name) ? lines.map((line) => (/"mode":"4/.test(line) ? withoutTime(line) : line)) : lines;
    expect(comparable(await ours(`${name}:1`))).toEqual(comparable(await theirs(`${name}:1`)));
  });

  it("sparse files of GNU's format (GNU tar)", async () => {
    const layer = packSample(gnuSparse, "none");
    server.add("gnu-sparse", [layer]);
    const extracted = join(folder, "gnu-sparse");
    mkdirSync(extracted);
    writeFileSync(join(folder, "gnu-sparse.tar"), layer.blob);
    await run("tar", ["-xpf", join(folder, "gnu-sparse.tar"), "-C", extracted]);
    expect(await ours("gnu-sparse:1")).toEqual(await tree([extracted]));
  });

  it("Docker's media types", async () => {
    server.add(
      "docker-v2",
      samples["kinds"]!.map((layer) => packSample(layer, "gzip")),
      "docker",
    );
    expect(await ours("docker-v2:1")).toEqual(await theirs("docker-v2:1"));
  });

  it.each(["zstd", "none"] as const)("layers compressed by %s (umoci gets them by gzip)", async (compression) => {
    // One of a kind: the archives are not in the store from other images.
    const files = `${samples["names"]![0]!.files}; echo ${compression} > how`;
    server.add(`plain-${compression}`, [packSample({ files }, "gzip")]);
    const lines = await theirs(`plain-${compression}:1`);
    server.add(compression, [packSample({ files }, compression)]);
    expect((await ours(`${compression}:1`)).map(withoutTime)).toEqual(lines.map(withoutTime));
  });
});
