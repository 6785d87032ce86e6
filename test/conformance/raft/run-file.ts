import { DataDrivenError, type Directive, directivesOf } from "./datadriven.ts";

/** Runs directives; state lives for one file. */
export type Handler = (directive: Directive) => string;

export interface Failure {
  readonly line: number;
  /** What is wrong, in one or more lines. */
  readonly why: string;
}

/** Run a file up to its first directive that fails. */
export function runFile(text: string, handle: Handler): Failure | undefined {
  let line = 0;
  let doing = "";
  try {
    for (const directive of directivesOf(text)) {
      ({ line } = directive);
      doing = `${directive.command}: `;
      let actual = handle(directive);
      if (actual !== "" && !actual.endsWith("\n")) actual += "\n";
      if (actual !== directive.expected) return { line, why: doing + difference(directive.expected, actual) };
      doing = "";
    }
    return undefined;
  } catch (err) {
    if (err instanceof DataDrivenError) return { line: err.line, why: err.message };
    // The node stopped, or the runner has a fault: here the stack helps.
    return { line, why: doing + (err instanceof Error ? (err.stack ?? err.message) : String(err)) };
  }
}

/** The lines that differ, with some context before. */
function difference(expected: string, actual: string): string {
  const want = expected.split("\n");
  const got = actual.split("\n");
  let same = 0;
  while (same < want.length && same < got.length && want[same] === got[same]) same++;
  const most = Math.min(want.length, got.length) - same;
  let tail = 0;
  while (tail < most && want[want.length - 1 - tail] === got[got.length - 1 - tail]) tail++;
  const mark = (sign: string, lines: readonly string[]) => lines.map((l) => `    ${sign} ${l}`);
  return [
    `output differs from its line ${same + 1} on`,
    ...mark(" ", want.slice(Math.max(0, same - 3), same)),
    ...mark("-", want.slice(same, want.length - tail)),
    ...mark("+", got.slice(same, got.length - tail)),
    ...mark(" ", want.slice(want.length - tail, want.length - tail + 2)),
    "    (- expected, + actual)",
  ].join("\n");
}
