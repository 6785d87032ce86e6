import { createPrivateKey, X509Certificate as ParsedCertificate } from "node:crypto";
import { NodeTLSInfo } from "@starling/api";
import { managerRole, workerRole } from "@starling/api/rpc";
import { type Millis, SwarmError } from "@starling/base";
import { type CertificateSubject, parseCertificate, splitPem } from "./root-ca.ts";

/** Certificates of a chain that are looked at: a leaf, a cross-signed root, and some to spare. */
const chainMax = 8;

/** A node's certificate, checked against its root. Times are milliseconds since the epoch. */
export interface NodeCertificate extends CertificateSubject {
  readonly notBefore: Millis;
  readonly notAfter: Millis;
}

/**
 * Reads a chain (leaf first), checks that it leads to a certificate of `rootPem`, is valid at `now` and names a node.
 * Throws FailedPrecondition saying which of these fails, with the dates when it is the time.
 */
export function readNodeCertificate(options: {
  readonly chainPem: string;
  readonly rootPem: string;
  readonly now: Millis;
  /** One that has run out is read, too. */
  readonly allowExpired?: boolean;
}): NodeCertificate {
  const chain = splitPem(options.chainPem).map((pem) => parseCertificate(pem, "node certificate"));
  const leaf = chain[0];
  if (leaf === undefined) throw refuse("the file holds no PEM certificate");
  const roots = splitPem(options.rootPem).map((pem) => parseCertificate(pem, "root certificate"));
  checkChain(chain, roots);
  const notBefore = Date.parse(leaf.validFrom);
  const notAfter = Date.parse(leaf.validTo);
  if (options.now < notBefore) {
    throw refuse(`not valid before ${leaf.validFrom}, and it is ${utc(options.now)}: is this host's clock right?`);
  }
  if (options.now > notAfter && !options.allowExpired) {
    throw refuse(`not valid after ${leaf.validTo}, and it is ${utc(options.now)}: join the cluster again`);
  }
  const subject = leaf.toLegacyObject().subject as unknown as Readonly<Record<string, string | readonly string[]>>;
  const nodeId = one(subject["CN"]);
  const role = [subject["OU"] ?? []].flat().find((unit) => unit === managerRole || unit === workerRole);
  const organization = one(subject["O"]);
  if (nodeId === "" || organization === "" || role === undefined) {
    throw refuse(`"${leaf.subject.replaceAll("\n", ", ")}" names no node (CN), role (OU) and cluster (O)`);
  }
  return { nodeId, role, organization, notBefore, notAfter };
}

/**
 * Follows the chain until a root has issued the certificate at hand: what comes behind that is for those who trust another
 * root, as after a root rotation.
 */
function checkChain(chain: readonly ParsedCertificate[], roots: readonly ParsedCertificate[]): void {
  for (const [at, certificate] of chain.slice(0, chainMax).entries()) {
    if (roots.some((root) => isIssuedBy(certificate, root))) return;
    const next = chain[at + 1];
    if (next === undefined || !next.ca || !isIssuedBy(certificate, next)) break;
  }
  throw refuse("not signed by this cluster's root certificate");
}

function isIssuedBy(certificate: ParsedCertificate, issuer: ParsedCertificate): boolean {
  return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
}

/** Is `keyPem` the private key of the chain's leaf? Throws when either cannot be read. */
export function keyMatches(chainPem: string, keyPem: string): boolean {
  const leaf = splitPem(chainPem)[0];
  return leaf !== undefined && new ParsedCertificate(leaf).checkPrivateKey(createPrivateKey(keyPem));
}

/** What a node tells of its trust in its description, so that a root rotation can see who has moved. */
export function tlsInfo(chainPem: string, rootPem: string): NodeTLSInfo {
  const chain = splitPem(chainPem);
  const leaf = parseCertificate(chain[0] ?? "", "node certificate");
  const candidates = [...chain.slice(1), ...splitPem(rootPem)].map((pem) => new ParsedCertificate(pem));
  const issuer = candidates.find((candidate) => isIssuedBy(leaf, candidate)) ?? new ParsedCertificate(rootPem);
  return NodeTLSInfo.create({
    trustRoot: Buffer.from(rootPem),
    certIssuerSubject: issuerName(leaf.raw),
    certIssuerPublicKey: publicKeyOf(issuer),
  });
}

/** What NodeTLSInfo says of the issuer when it is this root. */
export function issuerInfo(rootPem: string): Pick<NodeTLSInfo, "certIssuerSubject" | "certIssuerPublicKey"> {
  const root = parseCertificate(splitPem(rootPem)[0] ?? "", "root certificate");
  // Self-signed: its issuer's name is its own.
  return { certIssuerSubject: issuerName(root.raw), certIssuerPublicKey: publicKeyOf(root) };
}

/** DER of the SubjectPublicKeyInfo. */
export function publicKeyOf(certificate: ParsedCertificate): Uint8Array {
  return new Uint8Array(certificate.publicKey.export({ type: "spki", format: "der" }));
}

/**
 * The issuer's Name in the DER of a certificate that was verified before: TBSCertificate's fourth element, behind version,
 * serial number and signature algorithm (RFC 5280 §4.1).
 */
function issuerName(certificate: Uint8Array): Uint8Array {
  const elementAt = (offset: number) => {
    const first = certificate[offset + 1]!;
    const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
    let length = lengthBytes === 0 ? first : 0;
    for (let i = 0; i < lengthBytes; i++) length = length * 256 + certificate[offset + 2 + i]!;
    const content = offset + 2 + lengthBytes;
    return { content, end: content + length };
  };
  let at = elementAt(elementAt(0).content).content;
  for (let skipped = 0; skipped < 3; skipped++) at = elementAt(at).end;
  return Uint8Array.from(certificate.subarray(at, elementAt(at).end));
}

function refuse(why: string): SwarmError {
  return new SwarmError("FailedPrecondition", `node certificate: ${why}`);
}

function one(value: string | readonly string[] | undefined): string {
  return [value ?? []].flat()[0] ?? "";
}

function utc(at: Millis): string {
  return new Date(at).toUTCString();
}
