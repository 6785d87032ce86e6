import { BadImageError } from "@starling/registry";

/** What an archive says of one entry. */
export interface TarEntry {
  readonly name: string;
  readonly type: "file" | "folder" | "symlink" | "hardlink";
  readonly size: number;
  /** Of a link. */
  readonly target: string;
}

const blockBytes = 512;
/** Of a long name or a pax header: both stand for one entry. */
const extensionMax = 1 << 20;
const nameMax = 4_096;

/**
 * Reads an uncompressed tar archive (POSIX ustar and pax, GNU) as it comes, holding no more than one chunk and one header.
 * `onEntry` gets each entry with its content, and takes all of it or as much as it wants. Ends with the archive's end mark; what
 * follows is read and ignored. Throws BadImageError for what is no archive of files, folders and links.
 */
export async function readTar(
  chunks: AsyncIterable<Uint8Array>,
  onEntry: (entry: TarEntry, content: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<void> {
  const bytes = new ByteReader(chunks);
  let longName: string | undefined;
  let longTarget: string | undefined;
  let pax: ReadonlyMap<string, string> = new Map();
  for (;;) {
    const block = await bytes.block();
    if (block === undefined) throw new BadImageError("archive: it ends in the middle");
    if (block.every((byte) => byte === 0)) break;
    const header = parseHeader(block);
    if (header.flag === "L" || header.flag === "K" || header.flag === "x" || header.flag === "g") {
      const text = (await bytes.exactly(header.size, extensionMax)).toString("utf8");
      await bytes.skip(padding(header.size));
      if (header.flag === "L") longName = text.replace(/\0.*$/s, "");
      else if (header.flag === "K") longTarget = text.replace(/\0.*$/s, "");
      else if (header.flag === "x") pax = parsePax(text);
      continue;
    }
    const size = pax.has("size") ? sizeOf(pax.get("size")!) : header.size;
    const name = pax.get("path") ?? longName ?? header.name;
    const target = pax.get("linkpath") ?? longTarget ?? header.target;
    if (name.length > nameMax || target.length > nameMax) throw new BadImageError("archive: a name is too long");
    if ([...pax.keys()].some((key) => key.startsWith("GNU.sparse"))) throw sparse(name);
    const type = typeOf(header.flag, name);
    const contentBytes = type === "file" ? size : 0;
    const content = bytes.content(contentBytes);
    await onEntry({ name, type, size: contentBytes, target }, content.read());
    await content.drop();
    await bytes.skip(padding(contentBytes));
    longName = undefined;
    longTarget = undefined;
    pax = new Map();
  }
  await bytes.rest();
}

/** Where a path of an archive leads, without `.` and `..`; undefined when that is outside of it. */
export function insidePath(path: string): string | undefined {
  if (path.startsWith("/") || path.includes("\0")) return undefined;
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) return undefined;
  }
  return parts.join("/");
}

function typeOf(flag: string, name: string): TarEntry["type"] {
  if (flag === "0" || flag === "\0" || flag === "7") return name.endsWith("/") ? "folder" : "file";
  if (flag === "5") return "folder";
  if (flag === "2") return "symlink";
  if (flag === "1") return "hardlink";
  if (flag === "S") throw sparse(name);
  throw new BadImageError(`archive: ${JSON.stringify(name)} is neither a file nor a folder nor a link`);
}

function sparse(name: string): BadImageError {
  return new BadImageError(`archive: ${JSON.stringify(name)} is a sparse file`);
}

function parseHeader(block: Buffer) {
  let sum = 0;
  for (let i = 0; i < blockBytes; i++) sum += i >= 148 && i < 156 ? 32 : block[i]!;
  if (!/^ *[0-7]{1,7}[\0 ]*$/.test(block.toString("latin1", 148, 156)) || numberOf(block.subarray(148, 156)) !== sum)
    throw new BadImageError("archive: not a tar archive, or damaged");
  const prefix = block.toString("latin1", 257, 262) === "ustar" && block[262] === 0 ? textOf(block, 345, 500) : "";
  const name = textOf(block, 0, 100);
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    size: numberOf(block.subarray(124, 136)),
    flag: String.fromCharCode(block[156]!),
    target: textOf(block, 157, 257),
  };
}

function textOf(block: Buffer, from: number, to: number): string {
  const end = block.indexOf(0, from);
  return block.toString("utf8", from, end < 0 || end > to ? to : end);
}

/** Octal digits, or with the first bit set binary (GNU). */
function numberOf(field: Buffer): number {
  if (field[0]! & 0x80) {
    let value = field[0]! & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return checkedSize(value);
  }
  const text = field
    .toString("latin1")
    .replace(/[\0 ]+$/, "")
    .trimStart();
  return text === "" ? 0 : checkedSize(/^[0-7]+$/.test(text) ? Number.parseInt(text, 8) : Number.NaN);
}

function sizeOf(text: string): number {
  return checkedSize(/^\d{1,16}$/.test(text) ? Number(text) : Number.NaN);
}

function checkedSize(size: number): number {
  if (!Number.isSafeInteger(size)) throw new BadImageError("archive: a number in a header is none");
  return size;
}

/** Records `LENGTH KEY=VALUE\n`, the length counting all of the record in bytes. */
function parsePax(text: string): ReadonlyMap<string, string> {
  const bytes = Buffer.from(text);
  const records = new Map<string, string>();
  let at = 0;
  while (at < bytes.length) {
    const match = /^(\d{1,7}) ([^=]+)=/.exec(bytes.toString("utf8", at, at + 256));
    const length = Number(match?.[1] ?? 0);
    const end = at + length;
    const from = at + Buffer.byteLength(match?.[0] ?? "");
    if (match === null || end > bytes.length || end <= from || bytes[end - 1] !== 0x0a) {
      throw new BadImageError("archive: a pax header is malformed");
    }
    records.set(match[2]!, bytes.toString("utf8", from, end - 1));
    at = end;
  }
  return records;
}

function padding(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

/** Bytes of a stream, taken in the pieces that a reader asks for. */
class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** One block; undefined at the end of the stream. */
  async block(): Promise<Buffer | undefined> {
    if (!(await this.#fill())) return undefined;
    return this.exactly(blockBytes, blockBytes);
  }

  async exactly(count: number, max: number): Promise<Buffer> {
    if (count > max) throw new BadImageError(`archive: a header of ${count} bytes, at most ${max}`);
    const pieces: Uint8Array[] = [];
    for await (const piece of this.#take(count)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  async skip(count: number): Promise<void> {
    for await (const _ of this.#take(count));
  }

  /** The next `count` bytes: `read` gives them, `drop` skips what was not read. */
  content(count: number): { read(): AsyncGenerator<Uint8Array>; drop(): Promise<void> } {
    let left = count;
    const take = (max: number) => this.#some(max);
    return {
      async *read() {
        while (left > 0) {
          const piece = await take(left);
          left -= piece.length;
          yield piece;
        }
      },
      drop: async () => {
        while (left > 0) left -= (await take(left)).length;
      },
    };
  }

  /** Reads to the end, so that who sends it is not cut off. */
  async rest(): Promise<void> {
    this.#chunk = new Uint8Array(0);
    while (!(await this.#chunks.next()).done);
  }

  async *#take(count: number): AsyncGenerator<Uint8Array> {
    for (let left = count; left > 0; ) {
      const piece = await this.#some(left);
      left -= piece.length;
      yield piece;
    }
  }

  /** At least one byte, at most `max`. */
  async #some(max: number): Promise<Uint8Array> {
    if (!(await this.#fill())) throw new BadImageError("archive: it ends in the middle");
    const piece = this.#chunk.subarray(0, max);
    this.#chunk = this.#chunk.subarray(piece.length);
    return piece;
  }

  async #fill(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done) return false;
      this.#chunk = value;
    }
    return true;
  }
}
