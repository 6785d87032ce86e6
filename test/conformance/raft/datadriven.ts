// The file format of cockroachdb's datadriven tests: directives with arguments and input, and the output that they are
// expected to print. What it takes and what it refuses follows that package, so that a file means the same here.

export interface Arg {
  readonly key: string;
  /** Empty for a bare `key`; `key=` and `key=()` have one empty value. */
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

/** A file, or a directive in it, is not as the grammar says. */
export class DataDrivenError extends Error {
  override readonly name = "DataDrivenError";
  readonly line: number;

  constructor(line: number, why: string) {
    super(why);
    this.line = line;
  }
}

const separator = "----";

/** Lines, read one after the other. */
class Reader {
  readonly #lines: readonly string[];
  /** Lines read so far, hence the number of the last one. */
  at = 0;

  constructor(text: string) {
    const lines = text.split("\n").map((line) => (line.endsWith("\r") ? line.slice(0, -1) : line));
    // What a final newline ends has no line behind it.
    if (lines.at(-1) === "") lines.pop();
    this.#lines = lines;
  }

  next(): string | undefined {
    const line = this.#lines[this.at];
    if (line !== undefined) this.at++;
    return line;
  }
}

/**
 * The directives of a file, in order, each parsed when it is asked for.
 * @throws DataDrivenError naming the line.
 */
export function* directivesOf(text: string): Generator<Directive> {
  const reader = new Reader(text);
  const subtests: { readonly name: string; readonly line: number }[] = [];
  for (let head = reader.next(); head !== undefined; head = reader.next()) {
    const line = reader.at;
    head = head.trim();
    if (head.startsWith("#")) continue;
    while (head.endsWith("\\")) {
      const more = reader.next();
      if (more === undefined) break;
      head = `${head.slice(0, -1)} ${more.trim()}`;
    }
    if (head.trim() === "") continue;
    const { command, args } = parseLine(head, line);
    if (command === "subtest") {
      onSubtest(args, line, subtests);
      continue;
    }
    const input: string[] = [];
    let part = reader.next();
    for (; part !== undefined && part !== separator; part = reader.next()) input.push(part);
    if (part === undefined) throw new DataDrivenError(line, `${command}: no ${separator} and output follow`);
    yield { line, command, args, input: input.join("\n").trim(), expected: readExpected(reader) };
  }
  const open = subtests.at(-1);
  if (open !== undefined) throw new DataDrivenError(open.line, `subtest ${open.name} has no "subtest end"`);
}

/** All directives of a file. @throws DataDrivenError */
export function parseFile(text: string): Directive[] {
  return [...directivesOf(text)];
}

/** `subtest NAME` and `subtest end [NAME]` only group: the state goes on. A nested name begins with its parent's and a slash. */
function onSubtest(args: readonly Arg[], line: number, open: { readonly name: string; readonly line: number }[]): void {
  const current = open.at(-1);
  const name = args[0]?.key;
  if (current !== undefined && name === "end") {
    if (args.length > 2) throw new DataDrivenError(line, "subtest end takes one name at most");
    const ended = args[1]?.key ?? current.name;
    if (ended !== current.name) {
      throw new DataDrivenError(line, `subtest end ${ended} does not fit to subtest ${current.name}`);
    }
    open.pop();
    return;
  }
  if (name === undefined || args.length !== 1) throw new DataDrivenError(line, "subtest takes one name");
  if (name === "end") throw new DataDrivenError(line, "subtest end without a subtest");
  if (current !== undefined && !name.startsWith(`${current.name}/`)) {
    throw new DataDrivenError(line, `subtest ${name} must begin with ${current.name}/`);
  }
  open.push({ name, line });
}

/** The lines behind ----: up to a blank one, or, behind a second ----, up to two ---- lines, of which a blank one follows. */
function readExpected(reader: Reader): string {
  let out = "";
  let line = reader.next();
  if (line !== separator) {
    for (; line !== undefined && line.trim() !== ""; line = reader.next()) out += `${line}\n`;
    return out;
  }
  for (line = reader.next(); line !== undefined; line = reader.next()) {
    out += `${line}\n`;
    if (line !== separator) continue;
    const second = reader.next();
    if (second === separator) {
      const behind = reader.next();
      if (behind !== undefined && behind !== "") {
        throw new DataDrivenError(
          reader.at,
          `a blank line must follow a block of output, not ${JSON.stringify(behind)}`,
        );
      }
      return out.slice(0, -separator.length - 1);
    }
    if (second !== undefined) out += `${second}\n`;
  }
  return out;
}

/** `command key key=value key=(value, value)`: spaces separate, parentheses nest, only commas at the top cut. */
function parseLine(text: string, line: number): { readonly command: string; readonly args: readonly Arg[] } {
  const all = text.trim();
  let rest = all;
  const until = (stop: RegExp): string => {
    const at = rest.search(stop);
    const taken = at < 0 ? rest : rest.slice(0, at);
    rest = rest.slice(taken.length);
    return taken;
  };
  const refuse = (): never => {
    throw new DataDrivenError(line, `cannot parse directive at column ${all.length - rest.length + 1}: ${all}`);
  };
  const command = until(/ /);
  const args: Arg[] = [];
  for (rest = rest.trim(); rest !== ""; rest = rest.trim()) {
    const key = until(/[ =]/);
    if (key === "") refuse();
    if (!rest.startsWith("=")) {
      args.push({ key, values: [] });
      continue;
    }
    rest = rest.slice(1);
    if (!rest.startsWith("(")) {
      args.push({ key, values: [until(/ /)] });
      continue;
    }
    const list = listAt(rest) ?? refuse();
    args.push({ key, values: list.values });
    rest = rest.slice(list.length);
  }
  return { command, args };
}

/** The values of the list that `text` begins with, and its length; undefined if it isn't closed. */
function listAt(text: string): { readonly values: readonly string[]; readonly length: number } | undefined {
  const values: string[] = [];
  let depth = 1;
  let from = 1;
  for (let at = 1; at < text.length; at++) {
    const char = text[at];
    if (char === "(") depth++;
    else if (char === ")") depth--;
    if (depth === 0) return { values: [...values, text.slice(from, at)], length: at + 1 };
    if (char === "," && depth === 1) {
      values.push(text.slice(from, at));
      while (text[at + 1] === " ") at++;
      from = at + 1;
    }
  }
  return undefined;
}
