/** Levels in rising order; a logger writes its own level and those above. */
const levels = ["debug", "info", "warn", "error", "fatal"] as const;
export type LogLevel = (typeof levels)[number];
export type LogFields = Readonly<Record<string, unknown>>;

/** Structured lines. Field names are the field's terms with dots: `task.id`, `node.id`, `service.id`, `state.transition`. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger whose lines all carry `fields` too. */
  with(fields: LogFields): Logger;
}

/** `"warn"` → `"warn"`; undefined for a level that does not exist. */
export function parseLogLevel(text: string): LogLevel | undefined {
  return levels.find((level) => level === text);
}

/** Writes logfmt lines (`time=… level=… msg=… key=value`) to `write`, by default standard error. */
export function createLogger(options: {
  readonly level: LogLevel;
  readonly write?: (line: string) => void;
  readonly now?: () => number;
}): Logger {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const now = options.now ?? Date.now;
  const least = levels.indexOf(options.level);
  const bind = (bound: LogFields): Logger => {
    const at = (level: LogLevel) => (message: string, fields?: LogFields) => {
      if (levels.indexOf(level) < least) return;
      let line = `time=${new Date(now()).toISOString()} level=${level} msg=${quote(message)}`;
      for (const [key, value] of Object.entries({ ...bound, ...fields })) {
        if (value !== undefined) line += ` ${key}=${quote(render(value))}`;
      }
      write(`${line}\n`);
    };
    return {
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      with: (fields) => bind({ ...bound, ...fields }),
    };
  };
  return bind({});
}

export const nullLogger: Logger = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => nullLogger,
};

function render(value: unknown): string {
  if (value instanceof Error) return value.message;
  if (typeof value === "object" && value !== null) {
    return JSON.stringify(value, (_key, inner) => (typeof inner === "bigint" ? inner.toString() : inner));
  }
  return String(value);
}

function quote(text: string): string {
  return /^[\w.,:/@+\->]+$/.test(text) ? text : JSON.stringify(text);
}
