import type { Context } from "../context.ts";
import type { Assessment } from "./assess.ts";

/** Slots drawn on a terminal; of larger services only the summary is shown. */
const slotsMax = 20;
const eraseLine = "\x1b[2K";

/**
 * Progress as Docker's users know it. On a terminal the lines are drawn over; elsewhere every change is a line of its
 * own: `overall progress: 2 of 3 tasks`, `web.2: no suitable node (…)`.
 */
export class ProgressDisplay {
  readonly #context: Pick<Context, "out" | "columns">;
  /** Lines drawn on the terminal so far; those are drawn over next. */
  #drawn = 0;
  /** What was shown last: the summary, or all lines on a terminal. */
  #summary = "";
  readonly #errors = new Map<string, string>();

  constructor(context: Pick<Context, "out" | "columns">) {
    this.#context = context;
  }

  show({ done, wanted, slots, reason }: Assessment): void {
    const summary = `overall progress: ${done} of ${wanted} tasks`;
    const { columns } = this.#context;
    if (columns === undefined) {
      if (summary !== this.#summary) this.#context.out(`${summary}\n`);
      this.#summary = summary;
      for (const { name, error } of slots) {
        if (error !== "" && this.#errors.get(name) !== error) this.#context.out(`${name}: ${error}\n`);
        this.#errors.set(name, error);
      }
      return;
    }
    const lines = [reason ? `${summary} (${reason})` : summary];
    if (slots.length <= slotsMax) {
      for (const { name, state, error } of slots) lines.push(`${name}: ${state.padEnd(10)} ${error}`.trimEnd());
    }
    const text = lines.map((line) => line.slice(0, columns - 1));
    if (text.join("\n") === this.#summary) return;
    this.#summary = text.join("\n");
    this.#draw(text);
  }

  /** Leaves what was shown, and adds a last line. */
  end(line?: string): void {
    if (line !== undefined) this.#context.out(`${line}\n`);
  }

  #draw(lines: readonly string[]): void {
    let text = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    for (const line of lines) text += `${eraseLine}${line}\n`;
    const left = this.#drawn - lines.length;
    if (left > 0) text += `${`${eraseLine}\n`.repeat(left)}\x1b[${left}A`;
    this.#drawn = lines.length;
    this.#context.out(text);
  }
}
