import { lstatSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { cacheFolder, mustExec, TestCluster } from "../cluster/index.ts";
import { buildImages } from "./build.ts";
import { digestOf } from "./layer.ts";
import { type Registry, startRegistry } from "./registry.ts";

let cluster: TestCluster;
let registry: Registry;

beforeAll(async () => {
  cluster = await TestCluster.create({ name: `images-${process.pid}`, hosts: ["reg", "w1"] });
  registry = await startRegistry(cluster.host("reg"));
}, 300_000);
afterAll(() => cluster?.destroy());

it("a worker finds manifests by tag and digest, of each kind, and blobs whose content is what they are named", async () => {
  const w1 = cluster.host("w1");
  for (const image of Object.values(registry.images)) {
    const [repository, tag] = image.reference.slice(registry.address.length + 1).split(":");
    const url = `http://${registry.address}/v2/${repository}`;
    const accept = ["oci.image.manifest.v1", "oci.image.index.v1", "docker.distribution.manifest.v2"];
    const headers = accept.flatMap((type) => ["-H", `accept: application/vnd.${type}+json`]);
    const byTag = await w1.mustExec(["curl", "-sf", ...headers, `${url}/manifests/${tag}`]);
    const byDigest = await w1.mustExec(["curl", "-sf", ...headers, `${url}/manifests/${image.digest}`]);
    expect(byDigest).toBe(byTag);
  }
  const { web1 } = await buildImages();
  const file = join(cacheFolder, `blob-${process.pid}`);
  mkdirSync(cacheFolder, { recursive: true });
  for (const blob of web1.blobs) {
    await w1.mustExec(["curl", "-sf", "-o", file, `http://${registry.address}/v2/web/blobs/${blob.digest}`]);
    expect(await digestOf(file)).toBe(blob.digest);
  }
  await w1.mustExec(["rm", file]);
});

/** Unpacks into w1's state folder as overlayfs would show it, with tar and the image spec's rules for whiteouts. */
async function unpack(name: "web1" | "tools" | "oddities", folder: string): Promise<void> {
  const root = join(cluster.host("w1").stateFolder, folder);
  mkdirSync(root);
  for (const { file } of (await buildImages())[name].blobs.filter((blob) => blob.file.endsWith(".tar.gz"))) {
    for (const entry of (await mustExec(["tar", "tzf", file, "--quoting-style=literal"])).trim().split("\n")) {
      const place = join(root, entry.replace(/\/$/, ""));
      const [whiteout, hidden] = /\.wh\.([^/]+)$/.exec(place) ?? [];
      if (hidden === ".wh..opq") for (const old of readdirSync(dirname(place))) remove(join(dirname(place), old));
      else if (whiteout) remove(join(dirname(place), hidden!));
      else if (entry.endsWith("/") !== lstatSync(place, { throwIfNoEntry: false })?.isDirectory()) remove(place);
    }
    const extract = ["tar", "xzpf", file, "-C", root, "--xattrs", "--xattrs-include=*", "--numeric-owner"];
    await mustExec([...extract, "--exclude=.wh.*"]);
  }
}

function remove(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

it("the web server runs from its image alone and says who answers", async () => {
  const w1 = cluster.host("w1");
  await unpack("web1", "web");
  // What a runtime provides (OCI runtime spec, "Default Devices" and "Dev symbolic links").
  const devices = "mknod -m 666 dev/null c 1 3 && ln -s /proc/self/fd/1 dev/stdout && ln -s /proc/self/fd/2 dev/stderr";
  await w1.mustExec(`cd /var/lib/swarmd/web && mount -t tmpfs dev dev && mount -t proc proc proc && ${devices}`);
  await w1.daemon("nginx", ["chroot", "/var/lib/swarmd/web", "/usr/sbin/nginx", "-g", "daemon off;"]);
  const page = await cluster
    .host("reg")
    .mustExec(["curl", "-s", "--retry", "5", "--retry-connrefused", `http://${w1.address}/`]);
  expect(page).toBe("host=w1 version=1 client=10.99.0.2 server=10.99.0.21\n");
});

it("the tools run from their image alone", async () => {
  await unpack("tools", "tools");
  const inside = (command: string) =>
    cluster.host("w1").mustExec(["chroot", "/var/lib/swarmd/tools", "sh", "-c", command]);
  expect(await inside("curl --version")).toMatch(/^curl /);
  expect(await inside("iperf3 --version")).toMatch(/^iperf /);
  expect(await inside("getent passwd www-data")).toMatch(/^www-data:/);
});

it("the oddities' own check holds when they are unpacked by the book, and notices when they are not", async () => {
  await unpack("oddities", "odd");
  const check = () =>
    cluster.host("w1").exec(["chroot", "/var/lib/swarmd/odd", "sh", "-c", "cd '/srv/odd dir' && ODD='a b=c' /check"]);
  expect(await check()).toEqual({ code: 0, stdout: "ok\n", stderr: "" });
  await cluster
    .host("w1")
    .mustExec("chmod 755 /var/lib/swarmd/odd/srv/setuid && touch /var/lib/swarmd/odd/srv/removed");
  const { code, stdout } = await check();
  expect(code).toBe(1);
  expect(stdout).toContain("wrong: setuid: got '755 1234 5678', want '6755 1234 5678'");
  expect(stdout).toContain("wrong: test ! -e /srv/removed");
});
