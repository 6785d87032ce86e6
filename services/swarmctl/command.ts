import type { Context } from "./context.ts";

/** A flag of a command, in commander's notation: `-q, --quiet`, `--replicas <count>`. */
export interface FlagDefinition {
  readonly flags: string;
  readonly help: string;
  /** Reads one value; throws UsageError. Without it the value stays text. */
  readonly parse?: (text: string) => unknown;
  /** May be given several times: values add up to a list. A parser that gives a list adds all of its items. */
  readonly list?: boolean;
  /** Kept out of `--help`: an old spelling. */
  readonly hidden?: boolean;
}

/** One verb of a noun. `F` is what its flags parse to, keyed by their long names in camelCase. */
export interface Command<F> {
  /** Positional arguments in commander's notation: `<service>`, `[image] [args...]`. */
  readonly arguments?: string;
  readonly flags: readonly FlagDefinition[];
  /** Arguments after the first positional belong to someone else, flags included. */
  readonly passThrough?: boolean;
  /** Lines below the flags in `--help`. */
  readonly notes?: string;
  run(context: Context, args: readonly string[], flags: F): Promise<void>;
}

// biome-ignore lint/suspicious/noExplicitAny: commands of any flags; each checks its own
export type AnyCommand = Command<any>;

export const formatFlag: FlagDefinition = {
  flags: "--format <format>",
  help: "table (default) or json: one JSON document",
};
export const quietFlag: FlagDefinition = { flags: "-q, --quiet", help: "Only display IDs" };
export const noTruncFlag: FlagDefinition = { flags: "--no-trunc", help: "Show whole IDs and texts" };

/** Flags that every list has. */
export const listFlags: readonly FlagDefinition[] = [quietFlag, formatFlag, noTruncFlag];

export interface ListFlags {
  readonly quiet?: boolean;
  readonly format?: string;
  /** False with `--no-trunc`. */
  readonly trunc?: boolean;
}
