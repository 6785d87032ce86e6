/** Pure: no clock, no I/O, no randomness. */

import { type Duration, parseSize, parseDuration as readDuration } from "@starling/api";
import { UsageError } from "../usage-error.ts";

/** A duration as Go writes them: `5s`, `1m30s`, `1.5h`, `-2s`, `0`. */
export function parseDuration(text: string): Duration {
  const duration = readDuration(text);
  if (duration !== undefined) return duration;
  throw new UsageError(`"${text}" is not a duration: write a number and a unit, as in 500ms, 5s, 1m30s, 2h`);
}

/** A duration that is kept as it was written, in a label. */
export function durationText(text: string): string {
  parseDuration(text);
  return text;
}

/** Bytes: `512m`, `1g`, `64MiB`, `4096`. Units are powers of 1024. */
export function parseBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new UsageError(`"${text}" is not a size: write it as in 512m, 1g or 64MiB`);
  return bytes;
}

/** CPU cores as billionths: `0.5` → 500000000. */
export function parseNanoCpus(text: string): number {
  const nano = /^\d*\.?\d+$/.test(text) ? Math.round(Number(text) * 1e9) : Number.NaN;
  if (!Number.isSafeInteger(nano)) throw new UsageError(`"${text}" is not a number of CPUs: write it as in 0.5 or 2`);
  return nano;
}

/** A whole number of at least `least` (0 unless told). */
export function parseCount(text: string, least = 0): number {
  const count = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(count) || count < least) {
    throw new UsageError(`"${text}" is not a whole number of at least ${least}`);
  }
  return count;
}

export function parseInteger(text: string): number {
  return parseCount(text, Number.MIN_SAFE_INTEGER);
}

/** A share between 0 and 1. */
export function parseRatio(text: string): number {
  const ratio = text.trim() === "" ? Number.NaN : Number(text);
  if (!(ratio >= 0 && ratio <= 1)) throw new UsageError(`"${text}" is not a ratio between 0 and 1`);
  return ratio;
}

/** What `parse` gives; its refusal says where the value stands: `--filter role: "x" is not one of worker, manager`. */
export function inFlag<T>(place: string, parse: () => T): T {
  try {
    return parse();
  } catch (thrown) {
    throw thrown instanceof UsageError ? new UsageError(`${place}: ${thrown.message}`) : thrown;
  }
}

/** One of the words, by which it is looked up: `choose({ pause: 0, continue: 1 })`. */
export function choose<T>(words: Readonly<Record<string, T>>): (text: string) => T {
  return (text) => {
    if (Object.hasOwn(words, text)) return words[text]!;
    throw new UsageError(`"${text}" is not one of ${Object.keys(words).join(", ")}`);
  };
}

/** `key=value` pairs; a bare `key` has the empty value. Keys must not be empty. */
export function parsePairs(texts: readonly string[]): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const text of texts) {
    const at = text.indexOf("=");
    const key = (at < 0 ? text : text.slice(0, at)).trim();
    if (key === "") throw new UsageError(`"${text}" has no key: write key=value`);
    pairs[key] = at < 0 ? "" : text.slice(at + 1).trim();
  }
  return pairs;
}

/** Comma-separated values, as in CSV: double quotes hold commas together. */
export function splitCommas(text: string): string[] {
  const values: string[] = [];
  let value = "";
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (char === '"') {
      if (quoted && text[i + 1] === '"') value += text[++i];
      else quoted = !quoted;
    } else if (char === "," && !quoted) {
      values.push(value);
      value = "";
    } else value += char;
  }
  if (quoted) throw new UsageError(`"${text}": a double quote is not closed`);
  return [...values, value];
}

/** Words as a shell splits them: blanks part, single and double quotes and backslashes hold together. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const char = text[i]!;
    if (quote !== "" && char === quote) quote = "";
    else if (quote === "" && (char === "'" || char === '"')) {
      quote = char;
      word ??= "";
    } else if (char === "\\" && quote !== "'" && i + 1 < text.length) word = (word ?? "") + text[++i];
    else if (quote === "" && /\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + char;
  }
  if (quote !== "") throw new UsageError(`"${text}": a quote is not closed`);
  return word === undefined ? words : [...words, word];
}

/**
 * Arguments of a container in one flag, in either of the two customs: `a,b,c` as SwarmKit's tools take them, or
 * `a b 'c d'` as Docker's do. A comma outside quotes decides.
 */
export function splitArguments(text: string): string[] {
  const bare = text.replace(/'[^']*'|"(?:\\.|[^"\\])*"/g, "");
  return bare.includes(",") ? splitCommas(text) : splitWords(text);
}
