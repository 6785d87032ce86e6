/** Pure: no clock, no I/O, no randomness. */

/** Throws when our own reasoning is wrong. `explain` is evaluated only on failure and should show both sides. */
export function assert(condition: unknown, explain: string | (() => string)): asserts condition {
  if (condition) return;
  throw new Error(`assertion failed: ${typeof explain === "string" ? explain : explain()}`);
}

/** The `default` arm of a switch over a closed union. */
export function assertNever(value: never): never {
  throw new Error(`assertion failed: unexpected ${JSON.stringify(value)}`);
}
