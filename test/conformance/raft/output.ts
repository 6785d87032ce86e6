import type { Logger, LogText } from "raft-ts";

export const levels: readonly string[] = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"];

/** What directives print, mixed with the nodes' log lines. */
export class Output implements Logger {
  #text = "";
  /** Index into `levels`. */
  level = 0;

  debug(text: LogText): void {
    this.#log(0, text);
  }
  info(text: LogText): void {
    this.#log(1, text);
  }
  warn(text: LogText): void {
    this.#log(2, text);
  }
  error(text: LogText): void {
    this.#log(3, text);
  }
  fatal(text: LogText): void {
    this.#log(4, text);
  }

  #log(level: number, text: LogText): void {
    if (this.level <= level) this.write(`${levels[level]} ${text()}\n`);
  }

  /** At level NONE nothing is printed, not even by directives. */
  isQuiet(): boolean {
    return this.level === levels.length - 1;
  }

  write(text: string): void {
    if (!this.isQuiet()) this.#text += text;
  }

  reset(): void {
    this.#text = "";
  }

  get text(): string {
    return this.#text;
  }

  /** Run `body`; what it prints is indented by two spaces, line by line. */
  indented(body: () => void): void {
    const before = this.#text;
    this.#text = "";
    try {
      body();
    } finally {
      const lines = this.#text.split("\n");
      if (lines.at(-1) === "") lines.pop();
      this.#text = before + lines.map((line) => `  ${line}\n`).join("");
    }
  }

  /** @throws DirectiveError on an unknown name. */
  setLevel(name: string): void {
    const level = levels.indexOf(name.toUpperCase());
    if (level < 0) throw new DirectiveError(`log levels must be either of [${levels.join(" ")}]`);
    this.level = level;
  }
}

/** The outcome of a directive, printed as its output. */
export class DirectiveError extends Error {
  override readonly name = "DirectiveError";
}

/** The directive asks for what cannot be: no output, the file fails there. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
