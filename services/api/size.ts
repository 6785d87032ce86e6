/** Pure: no clock, no I/O, no randomness. */

const units: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes of `512m`, `1.5g`, `64MiB`, `4096`: units are powers of 1024. Undefined for anything else, and beyond 2^53. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text);
  const bytes = match ? Math.round(Number(match[1]) * units[match[2]!.toLowerCase()]!) : Number.NaN;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
