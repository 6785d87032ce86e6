/** Pure: no clock, no I/O, no randomness. */
import { SwarmError } from "@starling/base";

/** What a join token says. Text form: `SWMTKN-1-<digest>-<secret>`, for FIPS clusters `SWMTKN-2-1-<digest>-<secret>`. */
export interface JoinToken {
  /** SHA-256 of the root certificate's PEM text: 32 bytes. Lets a joiner tell the real cluster from an impostor. */
  readonly rootDigest: Uint8Array;
  /** 16 random bytes; which of a cluster's two secrets it is decides the role. */
  readonly secret: Uint8Array;
  readonly fips: boolean;
}

/** Digits of 2^256 - 1 and of 2^128 - 1 in base 36: fields are padded with zeros on the left to these widths. */
const digestDigits = 50;
const secretDigits = 25;

/** The token's text. REQUIRES: 32 bytes of digest, 16 of secret. */
export function formatJoinToken(token: Omit<JoinToken, "fips">): string {
  return `SWMTKN-1-${toBase36(token.rootDigest, digestDigits)}-${toBase36(token.secret, secretDigits)}`;
}

/** Throws InvalidArgument "invalid join token" for anything that is not one (Swarm: errInvalidJoinToken). */
export function parseJoinToken(text: string): JoinToken {
  const parts = text.trim().split("-");
  const [name, version] = parts;
  const known = (version === "1" && parts.length === 4) || (version === "2" && parts.length === 5);
  const digest = parts.at(-2) ?? "";
  const secret = parts.at(-1) ?? "";
  if (name !== "SWMTKN" || !known || digest.length !== digestDigits || secret.length !== secretDigits) throw invalid();
  if (version === "2" && parts[2] !== "0" && parts[2] !== "1") throw invalid();
  return {
    rootDigest: fromBase36(digest, 32),
    secret: fromBase36(secret, 16),
    fips: version === "2" && parts[2] === "1",
  };
}

function invalid(): SwarmError {
  return new SwarmError(
    "InvalidArgument",
    "invalid join token: expected SWMTKN-1-… as printed by `swarmctl cluster join-token`",
  );
}

function toBase36(bytes: Uint8Array, digits: number): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value.toString(36).padStart(digits, "0");
}

function fromBase36(text: string, length: number): Uint8Array {
  let value = 0n;
  for (const char of text) {
    const digit = Number.parseInt(char, 36);
    if (Number.isNaN(digit) || char !== char.toLowerCase()) throw invalid();
    value = value * 36n + BigInt(digit);
  }
  if (value >> BigInt(8 * length) !== 0n) throw invalid();
  const bytes = new Uint8Array(length);
  for (let at = length - 1; at >= 0; at--) {
    bytes[at] = Number(value & 0xffn);
    value >>= 8n;
  }
  return bytes;
}
