import { type KeyObject, X509Certificate as ParsedCertificate, randomBytes } from "node:crypto";
import { managerRole } from "@starling/api/rpc";
import { type Millis, SwarmError } from "@starling/base";
import { newKey, privateKeyPem, sha256, signingKey } from "./keys.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  dnsNames,
  encodeName,
  extKeyUsage,
  keyIdOf,
  keyOfRequest,
  keyUsage,
  partsOfCertificate,
  publicKeyInfo,
  signCertificate,
  subjectKeyIdentifier,
} from "./x509.ts";

/** DNS name in every manager's certificate that joiners, who know no node id yet, ask for. */
export const caName = "swarm-ca";

const hour = 3_600_000;
export const rootValidityMs = 20 * 365 * 24 * hour;
export const nodeValidityMs = 90 * 24 * hour;
export const minNodeValidityMs = hour;
/** Certificates start this long ago, so that a joiner whose clock is behind can use its own. */
export const backdateMs = hour;

/** Who a node certificate speaks for. */
export interface CertificateSubject {
  readonly nodeId: string;
  /** `swarm-manager` or `swarm-worker`. */
  readonly role: string;
  /** The cluster's id. */
  readonly organization: string;
}

/**
 * A cluster's root of trust: one or more self-signed certificates and, on managers, the key that signs. During a root
 * rotation the signer is the new root and `intermediatesPem` links it to the old one.
 */
export class RootCA {
  /** Trusted certificates, PEM. Its SHA-256 stands in join tokens. */
  readonly certificatePem: string;
  readonly keyPem: string | undefined;
  readonly #signerPem: string;
  readonly #intermediatesPem: string;
  #signer: KeyObject | undefined;

  private constructor(options: RootCAOptions) {
    this.certificatePem = options.certificatePem;
    this.keyPem = options.keyPem;
    this.#signerPem = options.signerPem ?? options.certificatePem;
    this.#intermediatesPem = options.intermediatesPem ?? "";
  }

  /** A new root, valid for 20 years. */
  static async create(now: Millis): Promise<RootCA> {
    const key = await newKey();
    const publicKey = publicKeyInfo(key);
    const name = encodeName([["CN", caName]]);
    const certificatePem = signCertificate(
      {
        serial: newSerial(),
        issuer: name,
        subject: name,
        notBefore: now - backdateMs,
        notAfter: now + rootValidityMs,
        publicKey,
        extensions: [
          keyUsage("keyCertSign", "cRLSign"),
          basicConstraints(1),
          subjectKeyIdentifier(keyIdOf(publicKey)),
          authorityKeyIdentifier(keyIdOf(publicKey)),
        ],
      },
      key,
    );
    return new RootCA({ certificatePem, keyPem: privateKeyPem(key) });
  }

  /** Throws InvalidArgument when a certificate of the bundle is not a self-signed one. */
  static fromPem(options: RootCAOptions): RootCA {
    const bundle = splitPem(options.certificatePem);
    if (bundle.length === 0) throw new SwarmError("InvalidArgument", "root certificate: no PEM certificate found");
    for (const pem of bundle) {
      const parsed = parseCertificate(pem, "root certificate");
      if (!parsed.ca || !parsed.verify(parsed.publicKey)) {
        throw new SwarmError("InvalidArgument", "root certificate: not a self-signed certificate authority");
      }
    }
    return new RootCA(options);
  }

  /** SHA-256 of `certificatePem`. */
  get digest(): Uint8Array {
    return sha256(this.certificatePem);
  }

  /** `sha256:<hex>`, as in Cluster.root_ca.ca_cert_hash. */
  get digestText(): string {
    return `sha256:${Buffer.from(this.digest).toString("hex")}`;
  }

  /** Without a key this root only verifies. */
  get canSign(): boolean {
    return this.keyPem !== undefined && this.keyPem !== "";
  }

  /**
   * Certifies the request's key for `subject`, ignoring what else the request asks for. Below an hour of validity the
   * default of 90 days counts (Swarm: SigningPolicy). Returns a PEM chain, leaf first. Throws InvalidArgument for a bad request.
   */
  async signRequest(
    csr: Uint8Array,
    subject: CertificateSubject,
    options: { readonly now: Millis; readonly validityMs?: number },
  ): Promise<string> {
    const publicKey = keyOfRequest(csr);
    this.#signer ??= signingKey(this.#mustKey());
    const signer = parseCertificate(splitPem(this.#signerPem)[0] ?? "", "root certificate");
    const issuer = partsOfCertificate(signer.raw);
    const asked = options.validityMs ?? nodeValidityMs;
    const validityMs = asked < minNodeValidityMs ? nodeValidityMs : asked;
    const names = [subject.role, subject.nodeId, ...(subject.role === managerRole ? [caName] : [])];
    const certificatePem = signCertificate(
      {
        serial: newSerial(),
        issuer: issuer.subject,
        subject: encodeName([
          ["O", subject.organization],
          ["OU", subject.role],
          ["CN", subject.nodeId],
        ]),
        notBefore: options.now - backdateMs,
        notAfter: options.now + validityMs,
        publicKey,
        extensions: [
          keyUsage("digitalSignature", "keyEncipherment"),
          extKeyUsage("serverAuth", "clientAuth"),
          basicConstraints(undefined),
          subjectKeyIdentifier(keyIdOf(publicKey)),
          authorityKeyIdentifier(issuer.keyId ?? keyIdOf(publicKeyInfo(signer.publicKey))),
          dnsNames(names),
        ],
      },
      this.#signer,
    );
    return certificatePem + this.#intermediatesPem;
  }

  #mustKey(): string {
    if (!this.canSign) throw new SwarmError("FailedPrecondition", "this node holds no key to sign certificates with");
    return this.keyPem ?? "";
  }
}

export interface RootCAOptions {
  readonly certificatePem: string;
  readonly keyPem?: string | undefined;
  /** The certificate that `keyPem` belongs to, when it is not the (first) trusted one. */
  readonly signerPem?: string;
  /** Appended to every issued chain. */
  readonly intermediatesPem?: string;
}

/** Each certificate of a PEM bundle, newline at its end. */
export function splitPem(bundle: string): string[] {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => `${block}\n`);
}

/** Throws InvalidArgument naming `what`. */
export function parseCertificate(pem: string, what: string): ParsedCertificate {
  try {
    return new ParsedCertificate(pem);
  } catch (thrown) {
    throw new SwarmError("InvalidArgument", `${what}: not a PEM certificate`, { cause: thrown });
  }
}

/** 16 random bytes, positive. */
function newSerial(): Uint8Array {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial;
}
