import { createHash, createPrivateKey, generateKeyPair, type KeyObject, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { SwarmError } from "@starling/base";
import { canSignWith, signRequest } from "./x509.ts";

const generate = promisify(generateKeyPair);

/** A private key for ECDSA on P-256, Swarm's algorithm for roots and nodes. */
export async function newKey(): Promise<KeyObject> {
  return (await generate("ec", { namedCurve: "P-256" })).privateKey;
}

/** PKCS #8, PEM. */
export function privateKeyPem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

/** Reads a PEM key (PKCS #8 or SEC 1) that can sign. Throws InvalidArgument for other kinds than elliptic curve. */
export function signingKey(pem: string): KeyObject {
  const key = createPrivateKey(pem);
  if (!canSignWith(key)) {
    throw new SwarmError("InvalidArgument", "key: only ECDSA keys on P-256, P-384 and P-521 can sign certificates");
  }
  return key;
}

/** A new key and a request to certify it. The subject is empty: the CA decides who the node is. */
export async function newCertificateRequest(): Promise<{ readonly csrPem: string; readonly keyPem: string }> {
  const key = await newKey();
  return { csrPem: signRequest(key), keyPem: privateKeyPem(key) };
}

export function sha256(data: Uint8Array | string): Uint8Array {
  return createHash("sha256").update(data).digest();
}

/** Compares secrets in a time that tells nothing of where they differ, nor of the expected one's length. */
export function secretsEqual(expected: string, given: string): boolean {
  return timingSafeEqual(sha256(expected), sha256(given)) && expected !== "";
}
