/** Pure: no clock, no I/O, no randomness. */

import { assert } from "@starling/base";

const secretBytes = 16;
const secretDigits = 25;

/**
 * The token with a fresh secret: the last part of `SWMTKN-1-<digest of the root CA>-<secret>`, 16 random bytes in base
 * 36 with 25 digits. The digest stays, since the root CA does.
 */
export function withNewSecret(token: string, randomBytes: (count: number) => Uint8Array): string {
  const end = token.lastIndexOf("-");
  assert(token.startsWith("SWMTKN-") && end > 0, () => "the cluster object holds no join token to rotate");
  let secret = 0n;
  for (const byte of randomBytes(secretBytes)) secret = (secret << 8n) | BigInt(byte);
  return `${token.slice(0, end)}-${secret.toString(36).padStart(secretDigits, "0")}`;
}
