/** Pure: no clock, no I/O, no randomness. */

const escapes: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\x07", "\\a"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\v", "\\v"],
]);
const printable = /^[ \p{L}\p{M}\p{N}\p{P}\p{S}]$/u;
const lead = [
  { mask: 0x80, bits: 0x00, length: 1 },
  { mask: 0xe0, bits: 0xc0, length: 2 },
  { mask: 0xf0, bits: 0xe0, length: 3 },
  { mask: 0xf8, bits: 0xf0, length: 4 },
];
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The character at `at`, or undefined if there is no valid UTF-8. */
function decodeAt(data: Uint8Array, at: number): string | undefined {
  const length = lead.find(({ mask, bits }) => (data[at]! & mask) === bits)?.length;
  if (length === undefined || at + length > data.length) return undefined;
  try {
    return strict.decode(data.subarray(at, at + length));
  } catch {
    // Not UTF-8: the caller shows the byte.
    return undefined;
  }
}

/** Bytes as a string literal, as Go's %q prints them: printable characters as they are, others escaped. */
export function quote(data: Uint8Array): string {
  let out = '"';
  for (let at = 0; at < data.length; ) {
    const char = decodeAt(data, at);
    if (char === undefined) {
      out += `\\x${data[at]!.toString(16).padStart(2, "0")}`;
      at++;
      continue;
    }
    const code = char.codePointAt(0)!;
    at += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    const escaped = escapes.get(char);
    if (escaped !== undefined) out += escaped;
    else if (printable.test(char)) out += char;
    else if (code < 0x80) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (code < 0x10000) out += `\\u${code.toString(16).padStart(4, "0")}`;
    else out += `\\U${code.toString(16).padStart(8, "0")}`;
  }
  return `${out}"`;
}
