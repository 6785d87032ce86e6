import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

// The file format of cockroachdb's datadriven tests: directives with arguments and input, and the output that they are
// expected to print.

export interface Arg {
  readonly key: string;
  /** Empty for a bare `key`; `key=` has one empty value. */
  readonly values: readonly string[];
}

export interface Directive {
  /** Line of the directive, from 1. */
  readonly line: number;
  readonly command: string;
  readonly args: readonly Arg[];
  readonly input: string;
  readonly expected: string;
}

export class DataDrivenError extends Error {
  override readonly name = "DataDrivenError";
}

/** All directives of a file, in order. @throws DataDrivenError naming the line. */
export function parseFile(text: string): Directive[] {
  const lines = text.split("\n");
  // A file that ends in a newline has no line behind it.
  if (lines.at(-1) === "") lines.pop();
  const directives: Directive[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = at + 1;
    let head = lines[at++]!.trim();
    if (head === "" || head.startsWith("#")) continue;
    while (head.endsWith("\\") && at < lines.length) head = `${head.slice(0, -1).trimEnd()} ${lines[at++]!.trim()}`;
    const [command, ...args] = splitArgs(head, line);
    if (command === undefined) continue;
    if (command.key === "subtest") continue;

    const input: string[] = [];
    while (at < lines.length && lines[at] !== "----") input.push(lines[at++]!);
    if (at >= lines.length) throw new DataDrivenError(`line ${line}: directive ${command.key} has no ----`);
    at++;
    const expected: string[] = [];
    if (lines[at] === "----") {
      // A block that may hold blank lines, closed by two separators.
      at++;
      while (at < lines.length && !(lines[at] === "----" && lines[at + 1] === "----")) expected.push(lines[at++]!);
      if (at >= lines.length) throw new DataDrivenError(`line ${line}: block output is not closed by two ---- lines`);
      at += 2;
    } else {
      while (at < lines.length && lines[at]!.trim() !== "") expected.push(lines[at++]!);
    }
    directives.push({
      line,
      command: command.key,
      args,
      input: input.join("\n").trim(),
      expected: expected.map((l) => `${l}\n`).join(""),
    });
  }
  return directives;
}

function splitArgs(head: string, line: number): Arg[] {
  const args: Arg[] = [];
  let depth = 0;
  let token = "";
  const flush = () => {
    if (token !== "") args.push(parseArg(token, line));
    token = "";
  };
  for (const char of head) {
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (depth < 0) throw new DataDrivenError(`line ${line}: unbalanced ) in ${head}`);
    if (depth === 0 && /\s/.test(char)) flush();
    else token += char;
  }
  if (depth !== 0) throw new DataDrivenError(`line ${line}: unbalanced ( in ${head}`);
  flush();
  return args;
}

function parseArg(token: string, line: number): Arg {
  const at = token.indexOf("=");
  if (at < 0) return { key: token, values: [] };
  const key = token.slice(0, at);
  const value = token.slice(at + 1);
  if (key === "") throw new DataDrivenError(`line ${line}: argument without a name: ${token}`);
  if (!value.startsWith("(") || !value.endsWith(")")) return { key, values: [value] };
  const inner = value.slice(1, -1);
  return { key, values: inner.trim() === "" ? [] : splitCommas(inner) };
}

/** Cut at top-level commas; spaces behind a comma don't count. */
function splitCommas(text: string): string[] {
  const values: string[] = [];
  let depth = 0;
  let value = "";
  for (const char of text) {
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (depth === 0 && char === ",") {
      values.push(value.trim());
      value = "";
    } else {
      value += char;
    }
  }
  values.push(value.trim());
  return values;
}

/** Runs directives; state lives for one file. */
export type Handler = (directive: Directive) => string;

export interface Failure {
  readonly line: number;
  readonly command: string;
  readonly expected: string;
  readonly actual: string;
}

/** Run a file up to its first mismatch. */
export function runFile(text: string, handle: Handler): Failure | undefined {
  for (const directive of parseFile(text)) {
    const { line, command, expected } = directive;
    let actual: string;
    try {
      actual = handle(directive);
    } catch (err) {
      actual = `threw ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`;
    }
    if (actual !== "" && !actual.endsWith("\n")) actual += "\n";
    if (actual !== expected) return { line, command, expected, actual };
  }
  return undefined;
}

/** The files below `folder`, recursively, sorted. A folder that is not there has none. */
export function filesBelow(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.startsWith(".") && !entry.name.endsWith("~"))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw err;
  }
}

export function readText(file: string): string {
  return readFileSync(file, "utf8");
}

/** The lines that differ, with some context before. */
export function describeFailure({ line, command, expected, actual }: Failure): string {
  const want = expected.split("\n");
  const got = actual.split("\n");
  let same = 0;
  while (same < want.length && same < got.length && want[same] === got[same]) same++;
  let tail = 0;
  while (
    tail < Math.min(want.length, got.length) - same &&
    want[want.length - 1 - tail] === got[got.length - 1 - tail]
  ) {
    tail++;
  }
  const mark = (sign: string, lines: readonly string[]) => lines.map((l) => `    ${sign} ${l}`);
  return [
    `  line ${line}, ${command}: output differs from its line ${same + 1} on`,
    ...mark(" ", want.slice(Math.max(0, same - 3), same)),
    ...mark("-", want.slice(same, want.length - tail)),
    ...mark("+", got.slice(same, got.length - tail)),
    ...mark(" ", want.slice(want.length - tail, want.length - tail + 2)),
    "    (- expected, + actual)",
  ].join("\n");
}
