/** Pure: no clock, no I/O, no randomness. */

const blockBytes = 512;

/** The header of a regular file, with nothing that differs from one run to the next. Names of up to 100 bytes. */
export function tarFileHeader(name: string, size: number): Uint8Array {
  return header(name, { size, mode: 0o644, flag: "0" });
}

export function tarFolderHeader(name: string): Uint8Array {
  return header(`${name}/`, { size: 0, mode: 0o755, flag: "5" });
}

/** What follows a file's content up to the next block. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array((blockBytes - (size % blockBytes)) % blockBytes);
}

/** The archive's end. */
export const tarEnd = new Uint8Array(2 * blockBytes);

function header(
  name: string,
  entry: { readonly size: number; readonly mode: number; readonly flag: string },
): Uint8Array {
  const block = Buffer.alloc(blockBytes);
  block.write(name, 0, 100, "utf8");
  block.write(octal(entry.mode, 7), 100, "latin1");
  block.write(octal(0, 7), 108, "latin1");
  block.write(octal(0, 7), 116, "latin1");
  if (entry.size < 8 ** 11) block.write(octal(entry.size, 11), 124, "latin1");
  else {
    // GNU's binary numbers: octal digits end at 8 GiB.
    block.writeUInt8(0x80, 124);
    block.writeBigUInt64BE(BigInt(entry.size), 128);
  }
  block.write(octal(0, 11), 136, "latin1");
  block.write(entry.flag, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${octal(sum, 6)}\0 `, 148, "latin1");
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}
