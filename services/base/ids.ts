import { randomBytes } from "node:crypto";

const idBytes = 17;
/** Ids that are drawn together: a call of the system's for each would cost more than the rest of it. */
const idsPerDraw = 64;
let drawn: Uint8Array = new Uint8Array(0);

function nextBytes(count: number): Uint8Array {
  if (drawn.length < count) drawn = randomBytes(count * idsPerDraw);
  const bytes = drawn.subarray(0, count);
  drawn = drawn.subarray(count);
  return bytes;
}

/**
 * A new object id as Swarm makes them: 17 random bytes with the high bit set, in base 36, characters 1 to 25 of that
 * (moby/swarmkit identity/randomid.go). Always 25 characters of [0-9a-z].
 */
export function newId(bytes: (count: number) => Uint8Array = nextBytes): string {
  const random = Buffer.from(bytes(idBytes));
  random[0]! |= 0x80;
  const digits = BigInt(`0x${random.toString("hex")}`).toString(36);
  // A slice would keep the whole string that it was cut from, for as long as the id is kept: the object's life.
  return Buffer.from(digits, "latin1").toString("latin1", 1, 26);
}
