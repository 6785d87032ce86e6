/** Pure: no clock, no I/O, no randomness. */

import { SwarmError } from "@starling/base";

/** The object, or NotFound in Swarm's words. */
export function found<T>(object: T | undefined, noun: string, id: string): T {
  if (object === undefined) throw new SwarmError("NotFound", `${noun} ${id} not found`);
  return object;
}

/** `["a"]` → `"service a"`, `["a", "b"]` → `"services a, b"`. */
export function listed(noun: string, names: readonly string[]): string {
  return `${noun}${names.length === 1 ? "" : "s"} ${names.join(", ")}`;
}

/** A create that would take a name twice. The first words are Swarm's, which clients look for. */
export function nameTaken(noun: string, name: string, id: string): SwarmError {
  return new SwarmError(
    "AlreadyExists",
    `name conflicts with an existing object: ${noun} ${name} already exists (${id}): choose another name`,
  );
}
