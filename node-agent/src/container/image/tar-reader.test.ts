import { describe, expect, it } from "vitest";
import { insidePath, readTar, type TarEntry } from "./tar-reader.ts";
import { tarEnd, tarFileHeader, tarFolderHeader, tarPadding } from "./tar-writer.ts";

/** Headers of other kinds: a file's, with its type and what else differs, its sum counted anew. */
function header(name: string, size: number, flag: string, change: (block: Buffer) => void = () => {}): Buffer {
  const block = Buffer.from(tarFileHeader(name, size));
  block.write(flag, 156, "latin1");
  change(block);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
const file = (name: string, content: string) =>
  Buffer.concat([tarFileHeader(name, content.length), Buffer.from(content), tarPadding(content.length)]);
const extension = (flag: string, content: string) =>
  Buffer.concat([header("x", content.length, flag), Buffer.from(content), tarPadding(content.length)]);

/** What an archive holds, read in pieces of `step` bytes. */
async function read(parts: readonly Uint8Array[], step = 1_000): Promise<readonly (TarEntry & { text: string })[]> {
  const bytes = Buffer.concat(parts);
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
  }
  const entries: (TarEntry & { text: string })[] = [];
  await readTar(chunks(), async (entry, content) => {
    let text = "";
    for await (const piece of content) text += Buffer.from(piece).toString();
    entries.push({ ...entry, text });
  });
  return entries;
}

describe("a tar archive", () => {
  it.each([1, 511, 512, 513, 10_000])("is read in pieces of %i bytes", async (step) => {
    const parts = [tarFolderHeader("d"), file("d/a", "one"), file("b", "x".repeat(512)), file("c", ""), tarEnd];
    expect((await read(parts, step)).map(({ name, type, text }) => [name, type, text.length])).toEqual([
      ["d/", "folder", 0],
      ["d/a", "file", 3],
      ["b", "file", 512],
      ["c", "file", 0],
    ]);
  });

  it("has long names in GNU's and in pax form, for one entry each", async () => {
    const long = `${"n".repeat(150)}/é`;
    const record = (key: string, value: string) => {
      const rest = ` ${key}=${value}\n`;
      let length = Buffer.byteLength(rest);
      while (String(length).length + Buffer.byteLength(rest) !== length)
        length = String(length).length + Buffer.byteLength(rest);
      return `${length}${rest}`;
    };
    const pax = Buffer.from(record("path", long) + record("mtime", "1.5")).toString("latin1");
    const paxEntry = Buffer.concat([header("x", pax.length, "x"), Buffer.from(pax, "latin1"), tarPadding(pax.length)]);
    const gnu = Buffer.from(`${long}\0`).toString("latin1");
    const gnuEntry = Buffer.concat([header("x", gnu.length, "L"), Buffer.from(gnu, "latin1"), tarPadding(gnu.length)]);
    const entries = await read([gnuEntry, file("short", "1"), paxEntry, file("short", "2"), file("last", "3"), tarEnd]);
    expect(entries.map(({ name, text }) => [name, text])).toEqual([
      [long, "1"],
      [long, "2"],
      ["last", "3"],
    ]);
  });

  it("passes over what nobody reads", async () => {
    const bytes = Buffer.concat([file("a", "x".repeat(3_000)), file("b", "y"), tarEnd]);
    const names: string[] = [];
    async function* whole() {
      yield bytes;
    }
    await readTar(whole(), async ({ name }) => void names.push(name));
    expect(names).toEqual(["a", "b"]);
  });

  it.each<[string, readonly Uint8Array[], RegExp]>([
    ["a sum that is wrong", [Buffer.from(tarFileHeader("a", 0)).fill(0x31, 0, 1), tarEnd], /not a tar archive/],
    ["a device", [header("dev", 0, "3"), tarEnd], /neither a file nor a folder nor a link/],
    ["a sparse file", [header("s", 0, "S"), tarEnd], /sparse/],
    ["a header without end", [header("x", 2 << 20, "x"), Buffer.alloc(4 << 20)], /a header of 2097152 bytes/],
    ["a pax record that lies", [extension("x", "99 path=a\n"), file("a", ""), tarEnd], /pax header is malformed/],
    ["a pax size that is none", [extension("x", "12 size=-1x\n"), file("a", ""), tarEnd], /number in a header/],
    ["a size beyond all", [header("a", 0, "0", (block) => block.fill(0xff, 124, 136)), tarEnd], /number in a header/],
    ["no end", [file("a", "1")], /ends in the middle/],
    ["content that is cut", [tarFileHeader("a", 600), Buffer.alloc(100)], /ends in the middle/],
  ])("is refused with %s", async (_what, parts, error) => {
    await expect(read(parts)).rejects.toThrow(error);
  });
});

it.each([
  ["a/./b//c", "a/b/c"],
  ["a/../b", "b"],
  ["./", ""],
  ["../a", undefined],
  ["a/../../b", undefined],
  ["/etc/passwd", undefined],
  ["a\0b", undefined],
])("the path %j leads to %j", (path, inside) => {
  expect(insidePath(path)).toBe(inside);
});
