/** Pure: no clock, no I/O, no randomness. */
import { RaftInvariantError } from "./errors.ts";

/** A line of the log, made only if the logger wants it. */
export type LogText = () => string;

/** Where raft logs. An implementation calls `text` only for levels that it shows. */
export interface Logger {
  debug(text: LogText): void;
  info(text: LogText): void;
  warn(text: LogText): void;
  error(text: LogText): void;
  /** An invariant is broken; raft throws right after this call. */
  fatal(text: LogText): void;
}

/** Drops everything. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {} };

/** Log `text` as fatal and throw it. */
export function panic(logger: Logger, text: LogText): never {
  logger.fatal(text);
  throw new RaftInvariantError(text());
}
