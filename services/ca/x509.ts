import { createHash, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { SwarmError } from "@starling/base";
import {
  bitString,
  bitsOf,
  boolean,
  childrenOf,
  contextTag,
  type Der,
  type Element,
  element,
  octetString,
  oid,
  oidText,
  parse,
  sequence,
  setOf,
  text,
  time,
  unsigned,
} from "./der.ts";

/** Certificates and requests for them (RFC 5280, RFC 2986), as far as a swarm's authority makes and reads them. */

const nameOids = { CN: "2.5.4.3", O: "2.5.4.10", OU: "2.5.4.11" } as const;
const extensionOids = {
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extKeyUsage: "2.5.29.37",
} as const;
const usageOids = { serverAuth: "1.3.6.1.5.5.7.3.1", clientAuth: "1.3.6.1.5.5.7.3.2" } as const;

/** Hash of each signature algorithm that a request may be signed with. */
const hashByAlgorithm: Readonly<Record<string, string>> = {
  "1.2.840.10045.4.3.2": "sha256",
  "1.2.840.10045.4.3.3": "sha384",
  "1.2.840.10045.4.3.4": "sha512",
  "1.2.840.113549.1.1.11": "sha256",
  "1.2.840.113549.1.1.12": "sha384",
  "1.2.840.113549.1.1.13": "sha512",
};
const ecdsaByCurve: Readonly<Record<string, { readonly algorithm: string; readonly hash: string }>> = {
  prime256v1: { algorithm: "1.2.840.10045.4.3.2", hash: "sha256" },
  secp384r1: { algorithm: "1.2.840.10045.4.3.3", hash: "sha384" },
  secp521r1: { algorithm: "1.2.840.10045.4.3.4", hash: "sha512" },
};

/** Whether `key` can sign here: an ECDSA key on P-256, P-384 or P-521. */
export function canSignWith(key: KeyObject): boolean {
  return Object.hasOwn(ecdsaByCurve, key.asymmetricKeyDetails?.namedCurve ?? "");
}

/** A distinguished name: one attribute a set, in this order. */
export function encodeName(attributes: readonly (readonly [keyof typeof nameOids, string])[]): Der {
  return sequence(...attributes.map(([type, value]) => setOf(sequence(oid(nameOids[type]), text(value)))));
}

/** SubjectPublicKeyInfo of a public or private key. */
export function publicKeyInfo(key: KeyObject): Der {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return publicKey.export({ type: "spki", format: "der" });
}

export interface CertificateContent {
  /** Big-endian. */
  readonly serial: Uint8Array;
  readonly issuer: Der;
  readonly subject: Der;
  /** Epoch milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** SubjectPublicKeyInfo. */
  readonly publicKey: Der;
  readonly extensions: readonly Der[];
}

/** A certificate of version 3, PEM. REQUIRES: canSignWith(key). */
export function signCertificate(content: CertificateContent, key: KeyObject): string {
  const version = element(contextTag(0, true), unsigned(Uint8Array.of(2)));
  const tbs = sequence(
    version,
    unsigned(content.serial),
    algorithmOf(key),
    content.issuer,
    sequence(time(content.notBefore), time(content.notAfter)),
    content.subject,
    content.publicKey,
    element(contextTag(3, true), sequence(...content.extensions)),
  );
  return pemOf("CERTIFICATE", signed(tbs, key));
}

/** A request to certify the key, PEM, with an empty subject. REQUIRES: canSignWith(key). */
export function signRequest(key: KeyObject): string {
  const noAttributes = element(contextTag(0, true));
  const info = sequence(unsigned(Uint8Array.of(0)), encodeName([]), publicKeyInfo(key), noAttributes);
  return pemOf("CERTIFICATE REQUEST", signed(info, key));
}

/** SubjectPublicKeyInfo of a request whose signature is right. Throws InvalidArgument. */
export function keyOfRequest(csr: Uint8Array): Der {
  const refuse = (why: string, cause?: unknown) =>
    new SwarmError("InvalidArgument", `csr: ${why}: send a PEM certificate request`, { cause });
  const body = /-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([\s\S]+?)-----END/.exec(
    Buffer.from(csr).toString("latin1"),
  )?.[1];
  if (body === undefined) throw refuse("not a certificate request");
  let isSigned: boolean;
  let publicKey: Der;
  try {
    const [info, algorithm, signature] = childrenOf(parse(Buffer.from(body, "base64")));
    publicKey = childrenOf(info!)[2]!.whole;
    const hash = hashByAlgorithm[oidText(childrenOf(algorithm!)[0]!)];
    if (hash === undefined) throw new RangeError("unknown signature algorithm");
    const key = createPublicKey({ key: Buffer.from(publicKey), type: "spki", format: "der" });
    isSigned = verify(hash, info!.whole, key, bitsOf(signature!));
  } catch (thrown) {
    throw refuse("not a certificate request", thrown);
  }
  if (!isSigned) throw refuse("not signed by its own key");
  return publicKey;
}

/** Parts of a certificate that node:crypto does not give, DER. `keyId` is undefined where there is no such extension. */
export function partsOfCertificate(der: Uint8Array): {
  readonly issuer: Der;
  readonly subject: Der;
  readonly keyId: Uint8Array | undefined;
} {
  const fields = childrenOf(childrenOf(parse(der))[0]!);
  // Version is the one optional field in front.
  const [, , issuer, , subject] = fields[0]!.tag === contextTag(0, true) ? fields.slice(1) : fields;
  const extensionsTag = contextTag(3, true);
  const extensions = fields.find(({ tag }) => tag === extensionsTag);
  return {
    issuer: issuer!.whole,
    subject: subject!.whole,
    keyId: extensions && keyIdIn(childrenOf(extensions, extensionsTag)[0]!),
  };
}

function keyIdIn(extensions: Element): Uint8Array | undefined {
  for (const extension of childrenOf(extensions)) {
    const parts = childrenOf(extension);
    if (oidText(parts[0]!) === extensionOids.subjectKeyIdentifier) return parse(parts.at(-1)!.content).content;
  }
  return undefined;
}

/** The usual id of a key: SHA-1 of its bits (RFC 5280 §4.2.1.2). */
export function keyIdOf(publicKey: Der): Uint8Array {
  const [, bits] = childrenOf(parse(publicKey));
  return createHash("sha1").update(bitsOf(bits!)).digest();
}

/** Key usages by bit, as RFC 5280 §4.2.1.3 numbers them. */
export const keyUsages = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, cRLSign: 6 } as const;

/** Critical. */
export function keyUsage(...usages: readonly (keyof typeof keyUsages)[]): Der {
  const bits: readonly number[] = usages.map((usage) => keyUsages[usage]);
  const byte = bits.reduce((sum, bit) => sum | (0x80 >> bit), 0);
  return extension("keyUsage", bitString(Uint8Array.of(byte), 7 - Math.max(...bits)), { critical: true });
}

/** Critical. `pathLength`: of an authority, how many others may follow below it; undefined: not an authority. */
export function basicConstraints(pathLength: number | undefined): Der {
  const content = pathLength === undefined ? [] : [boolean(true), unsigned(Uint8Array.of(pathLength))];
  return extension("basicConstraints", sequence(...content), { critical: true });
}

export function extKeyUsage(...usages: readonly (keyof typeof usageOids)[]): Der {
  return extension("extKeyUsage", sequence(...usages.map((usage) => oid(usageOids[usage]))));
}

export function subjectKeyIdentifier(keyId: Uint8Array): Der {
  return extension("subjectKeyIdentifier", octetString(keyId));
}

export function authorityKeyIdentifier(keyId: Uint8Array): Der {
  return extension("authorityKeyIdentifier", sequence(element(contextTag(0, false), keyId)));
}

export function dnsNames(names: readonly string[]): Der {
  const encoded = names.map((name) => element(contextTag(2, false), Buffer.from(name, "latin1")));
  return extension("subjectAltName", sequence(...encoded));
}

function extension(name: keyof typeof extensionOids, value: Der, { critical = false } = {}): Der {
  return sequence(oid(extensionOids[name]), ...(critical ? [boolean(true)] : []), octetString(value));
}

function algorithmOf(key: KeyObject): Der {
  return sequence(oid(ecdsaOf(key).algorithm));
}

function signed(content: Der, key: KeyObject): Der {
  return sequence(content, algorithmOf(key), bitString(sign(ecdsaOf(key).hash, content, key)));
}

function ecdsaOf(key: KeyObject): { readonly algorithm: string; readonly hash: string } {
  const found = ecdsaByCurve[key.asymmetricKeyDetails?.namedCurve ?? ""];
  if (found === undefined) {
    throw new SwarmError("InvalidArgument", "key: only ECDSA keys on P-256, P-384 and P-521 can sign certificates");
  }
  return found;
}

function pemOf(label: string, der: Der): string {
  const body = Buffer.from(der)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}
