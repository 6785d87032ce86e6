/** Pure: no clock, no I/O, no randomness. */

/** What an expression is worth. */
export type Value = string | number | boolean | Readonly<Record<string, string>>;

/** What a template may name: fields by path (`.Service.Name`), undefined when there is none of that name; and functions. */
export interface Scope {
  field(path: string): Value | undefined;
  readonly functions: Readonly<Record<string, (...args: readonly Value[]) => Value>>;
}

/** Something in a template that is not offered, or not whole. */
export class TemplateError extends Error {}

/**
 * Renders the part of Go's text/template that specs are written in: fields, strings, numbers, functions, pipelines,
 * parentheses, `if … else if … else … end`, comments, `{{-` and `-}}`. Throws TemplateError that names what is not known.
 */
export function render(text: string, scope: Scope): string {
  const parts = partsOf(text);
  const { output, rest } = renderBlock(parts, 0, scope, true);
  const left = parts[rest];
  if (left !== undefined) throw new TemplateError(`{{${left.text}}} is not known here: there is no if before it`);
  return output;
}

interface Part {
  readonly action: boolean;
  readonly text: string;
}

/** Texts and actions in turn; trimmed as `{{-` and `-}}` say, without comments. */
function partsOf(text: string): readonly Part[] {
  const parts: { action: boolean; text: string }[] = [];
  let trim = false;
  let at = 0;
  for (const match of text.matchAll(/\{\{(- )?((?:"(?:\\.|[^"\\])*"|`[^`]*`|(?!\}\}).)*?)( -)?\}\}/gs)) {
    const [whole, trimBefore, inside = "", trimAfter] = match;
    const before = text.slice(at, match.index);
    const from = trim ? before.trimStart() : before;
    parts.push({ action: false, text: trimBefore ? from.trimEnd() : from });
    const action = inside.trim();
    if (!/^\/\*.*\*\/$/s.test(action)) parts.push({ action: true, text: action });
    trim = trimAfter !== undefined;
    at = match.index + whole.length;
  }
  const last = text.slice(at);
  if (last.includes("{{")) throw new TemplateError("a {{ has no }}");
  parts.push({ action: false, text: trim ? last.trimStart() : last });
  return parts;
}

/** Renders up to the end, or to an action that is not for this block. What is not `live` is read and left out. */
function renderBlock(
  parts: readonly Part[],
  from: number,
  scope: Scope,
  live: boolean,
): { readonly output: string; readonly rest: number } {
  let output = "";
  let at = from;
  while (at < parts.length) {
    const { action, text } = parts[at]!;
    const [word = ""] = text.split(/\s/, 1);
    if (!action) {
      output += text;
      at++;
    } else if (word === "if") {
      const block = renderIf(parts, at, scope, live);
      output += block.output;
      at = block.rest;
    } else if (word === "else" || word === "end") break;
    else {
      if (live) output += show(evaluate(text, scope));
      at++;
    }
  }
  return { output: live ? output : "", rest: at };
}

function renderIf(parts: readonly Part[], from: number, scope: Scope, live: boolean) {
  let output = "";
  let done = !live;
  let at = from;
  for (;;) {
    const condition = parts[at]?.text.replace(/^(else\s+)?if\b|^else$/, "").trim();
    const isElse = parts[at]?.text === "else";
    const chosen = !done && (isElse || isTrue(evaluate(condition ?? "", scope)));
    const block = renderBlock(parts, at + 1, scope, chosen);
    if (chosen) {
      output = block.output;
      done = true;
    }
    const next = parts[block.rest];
    if (next === undefined) throw new TemplateError(`{{${parts[from]!.text}}} has no {{end}}`);
    at = block.rest;
    if (next.text === "end") return { output, rest: at + 1 };
    if (isElse || !/^else(\s+if\b.*)?$/s.test(next.text)) throw new TemplateError(`{{${next.text}}} is not known here`);
  }
}

const tokenPattern = /\s*("(?:\\.|[^"\\])*"|`[^`]*`|-?\d+\b|\.[\w.-]*|[A-Za-z_]\w*|[()|])/y;

function evaluate(expression: string, scope: Scope): Value {
  const tokens: string[] = [];
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < expression.length) {
    const match = tokenPattern.exec(expression);
    if (match === null) throw unknown(expression);
    tokens.push(match[1]!);
  }
  let at = 0;

  function pipeline(): Value {
    let value = command([]);
    while (tokens[at] === "|") {
      at++;
      value = command([value]);
    }
    return value;
  }

  /** `piped` comes last among the arguments. */
  function command(piped: readonly Value[]): Value {
    const name = tokens[at];
    const called = name === undefined || !Object.hasOwn(scope.functions, name) ? undefined : scope.functions[name];
    if (called === undefined) {
      if (piped.length > 0) throw unknown(expression);
      return operand();
    }
    at++;
    const args: Value[] = [];
    while (at < tokens.length && tokens[at] !== "|" && tokens[at] !== ")") args.push(operand());
    return called(...args, ...piped);
  }

  function operand(): Value {
    const token = tokens[at++];
    if (token === undefined) throw unknown(expression);
    if (token === "(") {
      const value = pipeline();
      if (tokens[at++] !== ")") throw unknown(expression);
      return value;
    }
    if (token.startsWith('"')) return unquoted(token, expression);
    if (token.startsWith("`")) return token.slice(1, -1);
    if (/^-?\d/.test(token)) return Number(token);
    if (token === "true" || token === "false") return token === "true";
    const value = token.startsWith(".") ? scope.field(token) : undefined;
    if (value === undefined) throw unknown(expression);
    return value;
  }

  const value = pipeline();
  if (at < tokens.length) throw unknown(expression);
  return value;
}

function unquoted(token: string, expression: string): string {
  try {
    return JSON.parse(token) as string;
  } catch {
    throw unknown(expression);
  }
}

function unknown(expression: string): TemplateError {
  return new TemplateError(`{{${expression}}} is not known here`);
}

/** As text/template: what is empty or zero is not true. */
export function isTrue(value: Value): boolean {
  return typeof value === "object" ? Object.keys(value).length > 0 : Boolean(value);
}

/** A value as it is printed. */
export function show(value: Value): string {
  if (typeof value !== "object") return String(value);
  const pairs = Object.keys(value).sort();
  return `map[${pairs.map((key) => `${key}:${value[key]}`).join(" ")}]`;
}

/** Functions that need no task. */
export const commonFunctions: Scope["functions"] = {
  join: (separator = "", ...words) => words.map(show).join(show(separator)),
  index: (map = "", key = "") => {
    if (typeof map !== "object") throw new TemplateError("index is for maps, as in index .Service.Labels KEY");
    return map[show(key)] ?? "";
  },
  eq: (first = "", ...others) => others.some((other) => show(other) === show(first)),
  ne: (first = "", second = "") => show(first) !== show(second),
  and: (...all) => all.find((value) => !isTrue(value)) ?? all.at(-1) ?? "",
  or: (...all) => all.find(isTrue) ?? all.at(-1) ?? "",
  not: (value = "") => !isTrue(value),
  print: (...words) => words.map(show).join(""),
};
