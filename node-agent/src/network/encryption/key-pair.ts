import { generateKeyPairSync, type KeyObject } from "node:crypto";

/** Both in WireGuard's base64. The private one is given to WireGuard and to nobody else; it is never written to a file. */
export interface KeyPair {
  readonly privateKey: string;
  readonly publicKey: string;
}

export function newKeyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  return { privateKey: raw(privateKey, "d"), publicKey: raw(publicKey, "x") };
}

function raw(key: KeyObject, part: "d" | "x"): string {
  return Buffer.from(key.export({ format: "jwk" })[part]!, "base64url").toString("base64");
}
