/** Pure: no clock, no I/O, no randomness. */

import { SwarmError } from "@starling/base/errors";

/** Ends validation: the client sent something that can't be, in words that name field, value and remedy. */
export function refuse(message: string): never {
  throw new SwarmError("InvalidArgument", message);
}

/** The value, or a refusal when the client left it out. */
export function required<T>(value: T | undefined, field: string): T {
  return value === undefined || value === "" ? refuse(`${field} must be provided`) : value;
}
