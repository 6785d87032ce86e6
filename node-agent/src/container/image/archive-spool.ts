import { createHash } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { SwarmError } from "@starling/base";
import { BadImageError } from "@starling/registry";
import { describeFullDisk, diskSpace } from "./disk-space.ts";
import { insidePath, readTar } from "./tar-reader.ts";

/** Files and links in an archive: its images have a few for each layer. */
const entriesMax = 20_000;
/** Bytes of all files of an archive, decompressed. */
const contentMax = 256 * 2 ** 30;
/** Bytes of a JSON document in it. */
const documentMax = 4 << 20;
/** Bytes of the disk that no archive gets. */
const reserveBytes = 32 << 20;
const linksMax = 8;

/** A file of an archive, on this disk. */
export interface SpooledFile {
  readonly path: string;
  readonly size: number;
  readonly digest: string;
  /** The first bytes. */
  readonly head: Uint8Array;
}

/** An archive's files by their paths in it. Links lead to other files of it, and nowhere else. */
export class ArchiveSpool {
  readonly #files: ReadonlyMap<string, SpooledFile>;
  readonly #links: ReadonlyMap<string, string>;

  constructor(files: ReadonlyMap<string, SpooledFile>, links: ReadonlyMap<string, string>) {
    this.#files = files;
    this.#links = links;
  }

  /** The file at a path, links followed. */
  file(path: string): SpooledFile | undefined {
    let at = insidePath(path);
    for (let hops = 0; at !== undefined && hops <= linksMax; hops++) {
      const file = this.#files.get(at);
      if (file !== undefined) return file;
      at = this.#links.get(at);
    }
    return undefined;
  }

  /** A JSON document's text; undefined when it is not there. */
  async text(path: string): Promise<string | undefined> {
    const file = this.file(path);
    if (file === undefined) return undefined;
    if (file.size > documentMax)
      throw new BadImageError(`archive: ${path} has ${file.size} bytes, at most ${documentMax}`);
    return readFile(file.path, "utf8");
  }
}

/**
 * Takes an archive (tar, plain or compressed by gzip or zstd) apart into `folder`, one below the images' tmp: each file under a number, synced, its digest
 * counted on the way. Needs no more memory than a chunk. Throws BadImageError for a bad archive, ResourceExhausted when the
 * disk has no room for it, after `makeRoom` was asked.
 */
export async function spoolArchive(
  chunks: AsyncIterable<Uint8Array>,
  options: { readonly folder: string; readonly signal: AbortSignal; readonly makeRoom: () => Promise<boolean> },
): Promise<ArchiveSpool> {
  const files = new Map<string, SpooledFile>();
  const links = new Map<string, string>();
  let entries = 0;
  let bytes = 0;
  await readTar(decompressed(chunks, options.signal), async (entry, content) => {
    options.signal.throwIfAborted();
    const name = insidePath(entry.name);
    if (name === undefined) throw new BadImageError(`archive: the path ${JSON.stringify(entry.name)} leads out of it`);
    if (++entries > entriesMax) throw new BadImageError(`archive: more than ${entriesMax} entries`);
    if (entry.type === "folder") return;
    if (entry.type !== "file") {
      // Old `docker save` links layers that several images share.
      const base = entry.type === "symlink" ? name.split("/").slice(0, -1) : [];
      const target = insidePath([...base, entry.target].join("/"));
      if (entry.target.startsWith("/") || target === undefined) {
        throw new BadImageError(`archive: the link ${JSON.stringify(entry.name)} leads out of it`);
      }
      links.set(name, target);
      return;
    }
    bytes += entry.size;
    if (bytes > contentMax) throw new BadImageError(`archive: more than ${contentMax} bytes`);
    await needRoom(entry.size, options);
    files.set(name, await writeFile(join(options.folder, String(entries)), content));
  });
  return new ArchiveSpool(files, links);
}

async function needRoom(
  size: number,
  { folder, makeRoom }: { readonly folder: string; readonly makeRoom: () => Promise<boolean> },
): Promise<void> {
  const hasRoom = async () => (await diskSpace(folder)).freeBytes >= size + reserveBytes;
  if ((await hasRoom()) || ((await makeRoom()) && (await hasRoom()))) return;
  throw new SwarmError(
    "ResourceExhausted",
    `${await describeFullDisk(dirname(dirname(folder)))} for a file of ${size} bytes: free space on that disk, or swarmctl image prune --all`,
  );
}

async function writeFile(path: string, content: AsyncIterable<Uint8Array>): Promise<SpooledFile> {
  const hash = createHash("sha256");
  const head: number[] = [];
  let size = 0;
  const file = await open(path, "wx", 0o600);
  try {
    for await (const piece of content) {
      hash.update(piece);
      for (const byte of piece.subarray(0, 4 - head.length)) head.push(byte);
      size += piece.length;
      for (let at = 0; at < piece.length; ) at += (await file.write(piece, at)).bytesWritten;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { path, size, digest: `sha256:${hash.digest("hex")}`, head: Uint8Array.from(head) };
}

/** What content is compressed with, by its first bytes. */
export function compressionOf(head: Uint8Array): "none" | "gzip" | "zstd" | "other" {
  const hex = Buffer.from(head.subarray(0, 4)).toString("hex");
  if (hex.startsWith("1f8b")) return "gzip";
  if (hex === "28b52ffd") return "zstd";
  return hex === "fd377a58" || hex.startsWith("425a68") ? "other" : "none";
}

async function* decompressed(chunks: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const source = chunks[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < 4) {
    const { done, value } = await source.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  const whole = prefixed(head, source);
  const compression = compressionOf(head);
  if (compression === "other") {
    throw new BadImageError("archive: compressed by xz or bzip2: decompress it, or use gzip or zstd");
  }
  if (compression === "none") {
    yield* whole;
    return;
  }
  // A window of 128 MiB at most: a frame may ask for more memory than there is.
  const params = { [constants.ZSTD_d_windowLogMax]: 27 };
  const decompress = compression === "gzip" ? createGunzip() : createZstdDecompress({ params });
  const feeding = pipeline(Readable.from(whole), decompress, { signal });
  feeding.catch(() => {}); // The reader below hears of it too.
  try {
    for await (const piece of decompress as AsyncIterable<Uint8Array>) yield piece;
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    if (/^(Z_|ZSTD_|ERR_ZLIB)/.test(code))
      throw new BadImageError(`archive: not valid ${compression} data: ${message}`);
    throw error;
  }
}

async function* prefixed(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (head.length > 0) yield head;
  for (;;) {
    const { done, value } = await rest.next();
    if (done) return;
    yield value;
  }
}
