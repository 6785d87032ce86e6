import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, rmSync } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { mustExec } from "../cluster/index.ts";

export interface Layer {
  /** The compressed file. */
  readonly file: string;
  /** Digest and size of the compressed file, as manifests name it. */
  readonly digest: string;
  readonly size: number;
  /** Digest of the tar inside, as the image's config names it. */
  readonly diffId: string;
}

/** Packs a folder as an image layer at `file`: every kind of file, numeric owners, xattrs; same folder, same bytes. */
export async function packLayer(folder: string, file: string): Promise<Layer> {
  const tar = `${file}.tar`;
  await mustExec(
    [
      "tar",
      "--create",
      `--file=${tar}`,
      `--directory=${folder}`,
      "--format=pax",
      "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
      "--xattrs",
      "--xattrs-include=*",
      "--numeric-owner",
      "--sort=name",
      "--mtime=@1700000000",
      ".",
    ],
    { timeoutMs: 300_000 },
  );
  await pipeline(createReadStream(tar), createGzip({ level: 6 }), createWriteStream(file));
  const layer = { file, digest: await digestOf(file), size: (await stat(file)).size, diffId: await digestOf(tar) };
  rmSync(tar);
  return layer;
}

/** `sha256:…` of a file. */
export async function digestOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file), hash);
  return `sha256:${hash.digest("hex")}`;
}
