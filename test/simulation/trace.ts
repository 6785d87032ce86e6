import type { LogFields, Logger } from "@starling/base";

interface Line {
  readonly step: number;
  readonly ms: number;
  readonly who: string;
  readonly text: string;
  readonly fields: LogFields | undefined;
}

const kept = Number(process.env["SIM_TRACE"] ?? 120);

/** The last things that happened, to be told when a check fails; and how often each fault struck. */
export class Trace {
  readonly struck = new Map<string, number>();
  readonly #clock: () => { readonly step: number; readonly ms: number };
  readonly #lines: Line[] = [];
  #at = 0;

  constructor(clock: () => { readonly step: number; readonly ms: number }) {
    this.#clock = clock;
  }

  note(who: string, text: string, fields?: LogFields): void {
    this.#lines[this.#at++ % kept] = { ...this.#clock(), who, text, fields };
  }

  /** A fault took effect. */
  strike(fault: string, who?: string, fields?: LogFields): void {
    this.struck.set(fault, (this.struck.get(fault) ?? 0) + 1);
    if (who !== undefined) this.note(who, `! ${fault}`, fields);
  }

  logger(who: string): Logger {
    const note = (text: string, fields?: LogFields) => {
      if (!text.endsWith("dropping index reading msg")) this.note(who, text, fields);
    };
    const logger: Logger = {
      // Raft's own info lines: who votes for whom, who leads.
      debug: note,
      info: note,
      warn: note,
      error: note,
      with: () => logger,
    };
    return logger;
  }

  toString(): string {
    const ordered = [...this.#lines.slice(this.#at % kept), ...this.#lines.slice(0, this.#at % kept)];
    return ordered
      .map(({ step, ms, who, text, fields }) => {
        const more = Object.entries(fields ?? {}).map(([key, value]) => ` ${key}=${render(value)}`);
        return `${String(step).padStart(6)} ${ms.toFixed(1).padStart(9)} ms  ${who.padEnd(4)} ${text}${more.join("")}`;
      })
      .join("\n");
  }
}

function render(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message);
  return typeof value === "number" ? String(Math.round(value * 1000) / 1000) : String(value);
}
