import { createHash, createPrivateKey, type KeyObject, timingSafeEqual, webcrypto } from "node:crypto";
import type { Pkcs10CertificateRequest } from "@peculiar/x509";
import { SwarmError } from "@starling/base";
import { x509 } from "./x509.ts";

/** ECDSA on P-256 with SHA-256: Swarm's key algorithm for roots and nodes. */
export const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

const hashByCurve: Readonly<Record<string, { readonly namedCurve: string; readonly hash: string }>> = {
  prime256v1: { namedCurve: "P-256", hash: "SHA-256" },
  secp384r1: { namedCurve: "P-384", hash: "SHA-384" },
  secp521r1: { namedCurve: "P-521", hash: "SHA-512" },
};

export interface SigningKey {
  readonly key: webcrypto.CryptoKey;
  readonly algorithm: { readonly name: string; readonly namedCurve?: string; readonly hash: string };
}

/** Shorter RSA keys are refused (Swarm: RootCA). */
const rsaBitsMin = 2048;

export function newKeyPair(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
}

/** PKCS #8, PEM. */
export async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", key));
  const body = der.toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`;
}

/**
 * Reads a PEM key (PKCS #8, SEC 1 or PKCS #1) that can sign. Throws InvalidArgument for what is no key, and for other kinds than
 * ECDSA and RSA.
 */
export async function signingKey(pem: string): Promise<SigningKey> {
  const key = readPrivateKey(pem);
  const algorithm = algorithmOf(key);
  const der = key.export({ type: "pkcs8", format: "der" });
  return { key: await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]), algorithm };
}

/** Throws InvalidArgument for what is no PEM key. */
export function readPrivateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (thrown) {
    throw new SwarmError("InvalidArgument", "key: not a PEM private key (without a passphrase)", { cause: thrown });
  }
}

function algorithmOf(key: KeyObject): SigningKey["algorithm"] {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "rsa" && (modulusLength ?? 0) >= rsaBitsMin) {
    return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  }
  const curve = hashByCurve[namedCurve ?? ""];
  if (curve === undefined) {
    throw new SwarmError(
      "InvalidArgument",
      "key: only ECDSA keys on P-256, P-384 and P-521, and RSA keys of at least 2048 bits, can sign certificates",
    );
  }
  return { name: "ECDSA", ...curve };
}

/** The request, its signature checked. Throws InvalidArgument. */
export async function readCertificateRequest(csr: Uint8Array): Promise<Pkcs10CertificateRequest> {
  const refuse = (why: string, cause?: unknown) =>
    new SwarmError("InvalidArgument", `csr: ${why}: send a PEM certificate request`, { cause });
  const { Pkcs10CertificateRequest: Request } = await x509();
  let request: Pkcs10CertificateRequest;
  try {
    request = new Request(Buffer.from(csr).toString("latin1"));
  } catch (thrown) {
    throw refuse("not a certificate request", thrown);
  }
  const verified = await request.verify().catch(() => false);
  if (!verified) throw refuse("not signed by its own key");
  return request;
}

export function sha256(data: Uint8Array | string): Uint8Array {
  return createHash("sha256").update(data).digest();
}

/** Compares secrets in a time that tells nothing of where they differ, nor of the expected one's length. */
export function secretsEqual(expected: string, given: string): boolean {
  return timingSafeEqual(sha256(expected), sha256(given)) && expected !== "";
}
