import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { mustExec } from "../../cluster/index.ts";

export interface BenchLayer {
  readonly file: string;
  readonly digest: string;
  readonly diffId: string;
  readonly size: number;
}

/** Packs files of this machine's /usr as `count` gzip layers of `bytes` content each, below `folder`. */
export async function packLayers(folder: string, count: number, bytes: number): Promise<readonly BenchLayer[]> {
  const found = await mustExec(
    [
      "find",
      "usr",
      "-xdev",
      "(",
      "-type",
      "d",
      "-o",
      "-type",
      "l",
      "-o",
      "-type",
      "f",
      "-size",
      "-4M",
      ")",
      "-printf",
      "%s %y %p\\n",
    ],
    { cwd: "/", timeoutMs: 120_000 },
  );
  const lists: Set<string>[] = [new Set()];
  let inLayer = 0;
  for (const line of found.split("\n").filter(Boolean)) {
    const [, size, kind, path] = /^(\d+) (\w) (.+)$/.exec(line) ?? [];
    if (path === undefined || kind === "d") continue;
    if (inLayer >= bytes && lists.length === count) break;
    if (inLayer >= bytes) {
      lists.push(new Set());
      inLayer = 0;
    }
    const list = lists.at(-1)!;
    const above: string[] = [];
    for (let parent = dirname(path); parent !== "."; parent = dirname(parent)) above.unshift(parent);
    for (const parent of above) list.add(parent);
    list.add(path);
    inLayer += Number(size);
  }
  const layers: BenchLayer[] = [];
  for (const [i, list] of lists.entries()) {
    const file = join(folder, `${i}.tar`);
    writeFileSync(join(folder, "list"), [...list].join("\n"));
    await mustExec(["tar", "-C", "/", "--no-recursion", "--format=pax", "-cf", file, "-T", join(folder, "list")]);
    const diffId = digestOf(file);
    await mustExec(["gzip", "-6", file], { timeoutMs: 300_000 });
    layers.push({ file: `${file}.gz`, digest: digestOf(`${file}.gz`), diffId, size: statSync(`${file}.gz`).size });
  }
  return layers;
}

/** Writes an OCI layout with an image of these layers under `tag`. */
export function writeLayout(folder: string, tag: string, layers: readonly BenchLayer[]): void {
  const blobs = join(folder, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const put = (text: string) => {
    const digest = `sha256:${createHash("sha256").update(text).digest("hex")}`;
    writeFileSync(join(blobs, digest.slice(7)), text);
    return { digest, size: Buffer.byteLength(text) };
  };
  for (const { file, digest } of layers) {
    rmSync(join(blobs, digest.slice(7)), { force: true });
    writeFileSync(join(blobs, digest.slice(7)), readFileSync(file));
  }
  const type = (name: string) => `application/vnd.oci.image.${name}`;
  const config = put(
    JSON.stringify({
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
      history: layers.map(() => ({ created_by: "bench" })),
    }),
  );
  const manifest = put(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: type("manifest.v1+json"),
      config: { mediaType: type("config.v1+json"), ...config },
      layers: layers.map(({ digest, size }) => ({ mediaType: type("layer.v1.tar+gzip"), digest, size })),
    }),
  );
  writeFileSync(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const annotations = { "org.opencontainers.image.ref.name": tag };
  const entry = { mediaType: type("manifest.v1+json"), ...manifest, annotations };
  writeFileSync(join(folder, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
}

function digestOf(file: string): string {
  return `sha256:${createHash("sha256").update(readFileSync(file)).digest("hex")}`;
}
