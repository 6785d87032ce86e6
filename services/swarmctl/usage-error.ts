/** Pure: no clock, no I/O, no randomness. */

/** The command line itself is wrong: unknown command or flag, missing argument, malformed value. Exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
