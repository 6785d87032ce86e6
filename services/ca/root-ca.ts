import { X509Certificate as ParsedCertificate, randomBytes } from "node:crypto";
import type * as X509 from "@peculiar/x509";
import type { PublicKeyType, X509Certificate } from "@peculiar/x509";
import { managerRole } from "@starling/api/rpc";
import { type Millis, SwarmError } from "@starling/base";
import {
  keyAlgorithm,
  newKeyPair,
  privateKeyPem,
  readCertificateRequest,
  type SigningKey,
  sha256,
  signingKey,
} from "./keys.ts";
import { x509 } from "./x509.ts";

/** DNS name in every manager's certificate that joiners, who know no node id yet, ask for. */
export const caName = "swarm-ca";

const authorityKeyIdentifierOid = "2.5.29.35";

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
  #signer: Promise<SigningKey> | undefined;

  private constructor(options: RootCAOptions) {
    this.certificatePem = options.certificatePem;
    this.keyPem = options.keyPem;
    this.#signerPem = options.signerPem ?? options.certificatePem;
    this.#intermediatesPem = options.intermediatesPem ?? "";
  }

  /** A new root, valid for 20 years. */
  static async create(now: Millis): Promise<RootCA> {
    const [keys, lib] = await Promise.all([newKeyPair(), x509()]);
    const certificate = await lib.X509CertificateGenerator.createSelfSigned({
      name: new lib.Name([{ CN: [caName] }]),
      serialNumber: newSerial(),
      notBefore: new Date(now - backdateMs),
      notAfter: new Date(now + rootValidityMs),
      signingAlgorithm: keyAlgorithm,
      keys: keys as never,
      extensions: [
        new lib.KeyUsagesExtension(lib.KeyUsageFlags.keyCertSign | lib.KeyUsageFlags.cRLSign, true),
        new lib.BasicConstraintsExtension(true, 1, true),
        await lib.SubjectKeyIdentifierExtension.create(keys.publicKey as unknown as PublicKeyType),
        await lib.AuthorityKeyIdentifierExtension.create(keys.publicKey as unknown as PublicKeyType),
      ],
    });
    return new RootCA({ certificatePem: pemOf(certificate), keyPem: await privateKeyPem(keys.privateKey) });
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
    const request = await readCertificateRequest(csr);
    this.#signer ??= signingKey(this.#mustKey());
    const { key, algorithm } = await this.#signer;
    const lib = await x509();
    const issuer = new lib.X509Certificate(splitPem(this.#signerPem)[0] ?? "");
    const asked = options.validityMs ?? nodeValidityMs;
    const validityMs = asked < minNodeValidityMs ? nodeValidityMs : asked;
    const names = namesOf(subject);
    const certificate = await lib.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: new lib.Name([{ O: [subject.organization] }, { OU: [subject.role] }, { CN: [subject.nodeId] }]),
      issuer: issuer.subjectName,
      notBefore: new Date(options.now - backdateMs),
      notAfter: new Date(options.now + validityMs),
      signingAlgorithm: algorithm,
      publicKey: request.publicKey,
      signingKey: key as never,
      extensions: [
        new lib.KeyUsagesExtension(lib.KeyUsageFlags.digitalSignature | lib.KeyUsageFlags.keyEncipherment, true),
        new lib.ExtendedKeyUsageExtension([lib.ExtendedKeyUsage.serverAuth, lib.ExtendedKeyUsage.clientAuth]),
        new lib.BasicConstraintsExtension(false, undefined, true),
        await lib.SubjectKeyIdentifierExtension.create(request.publicKey),
        await authorityKeyIdentifier(lib, issuer),
        new lib.SubjectAlternativeNameExtension(names.map((value) => ({ type: "dns", value }))),
      ],
    });
    return pemOf(certificate) + this.#intermediatesPem;
  }

  /** The root that signs, linked to the trusted one: follows each leaf in a chain. Empty outside of a root rotation. */
  get intermediatesPem(): string {
    return this.#intermediatesPem;
  }

  /**
   * A certificate of this root for another root's name and key: whoever trusts this one then follows chains of the other. Valid
   * as long as the other. Throws FailedPrecondition without a key.
   */
  async crossSign(otherPem: string): Promise<string> {
    this.#signer ??= signingKey(this.#mustKey());
    const { key, algorithm } = await this.#signer;
    const lib = await x509();
    const issuer = new lib.X509Certificate(splitPem(this.#signerPem)[0] ?? "");
    const other = new lib.X509Certificate(otherPem);
    const kept = other.extensions.filter(({ type }) => type !== authorityKeyIdentifierOid);
    const certificate = await lib.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: other.subjectName,
      issuer: issuer.subjectName,
      notBefore: other.notBefore,
      notAfter: other.notAfter,
      signingAlgorithm: algorithm,
      publicKey: other.publicKey,
      signingKey: key as never,
      extensions: [...kept, await authorityKeyIdentifier(lib, issuer)],
    });
    return pemOf(certificate);
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

/** The DNS names of a node's certificate: what clients ask servers for. */
export function namesOf({ role, nodeId }: Pick<CertificateSubject, "role" | "nodeId">): string[] {
  return [role, nodeId, ...(role === managerRole ? [caName] : [])];
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

/** Each certificate in one fixed form, so that equal bundles are equal texts. Throws InvalidArgument naming `what`. */
export function normalizePem(bundle: string, what: string): string {
  return splitPem(bundle)
    .map((pem) => parseCertificate(pem, what).toString())
    .join("");
}

/** Points at the issuer by the identifier in its certificate: makers of roots derive theirs in several ways. */
async function authorityKeyIdentifier(lib: typeof X509, issuer: X509Certificate): Promise<X509.Extension> {
  const own = issuer.getExtension(lib.SubjectKeyIdentifierExtension);
  if (own) return new lib.AuthorityKeyIdentifierExtension(own.keyId);
  return await lib.AuthorityKeyIdentifierExtension.create(issuer.publicKey);
}

function pemOf(certificate: X509Certificate): string {
  return `${certificate.toString("pem")}\n`;
}

/** 16 random bytes, positive. */
function newSerial(): string {
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial.toString("hex");
}
