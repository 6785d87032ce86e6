import { X509Certificate as ParsedCertificate } from "node:crypto";
import { type CAConfig, type Cluster, type ExternalCA, type RootCA as RootCAObject, RootRotation } from "@starling/api";
import { type Clock, type Millis, SwarmError } from "@starling/base";
import { issuerInfo } from "./certificate.ts";
import { pemText } from "./cluster.ts";
import { crossSignExternally } from "./cross-sign.ts";
import { type ExternalCaIdentity, externalUrls, whyUnreachable } from "./external-ca.ts";
import { readPrivateKey, signingKey } from "./keys.ts";
import { normalizePem, parseCertificate, RootCA, splitPem } from "./root-ca.ts";

/** A root that is to be rotated to has to last this long (Swarm: minRootExpiration). */
const rootValidityMinMs: Millis = 365 * 24 * 3_600_000;

export interface NextRootOptions {
  readonly clock: Clock;
  /** Shown to external CAs. */
  readonly identity: ExternalCaIdentity;
}

/**
 * The cluster's root CA as `wanted` asks for it: unchanged, rotating to another root, or with a rotation given up. The rules
 * are Swarm's (controlapi: validateCAConfig):
 * - nothing wanted, `forceRotate` as before: unchanged; `forceRotate` raised: a rotation to a root made here;
 * - the present root wanted: a rotation under way is given up;
 * - the root wanted that is being rotated to: only its key may change;
 * - another root wanted: a rotation to it begins, also in the middle of another one.
 * A root given without a key goes to the external CAs that sign for it; if there are none, it keeps the key that the cluster has
 * of it (Swarm refuses that). A root without a key needs an external CA that can be reached. Throws InvalidArgument saying what
 * lacks.
 */
export async function nextRootCa(cluster: Cluster, wanted: CAConfig, options: NextRootOptions): Promise<RootCAObject> {
  const { rootCa } = cluster;
  const present = normalizePem(pemText(rootCa.caCert), "the cluster's root certificate");
  const asked = { cert: pemText(wanted.signingCaCert), key: pemText(wanted.signingCaKey) };
  checkUrls(wanted.externalCas);
  if (asked.cert === "") {
    if (wanted.forceRotate !== rootCa.lastForcedRotation) {
      const made = await RootCA.create(options.clock.now());
      return await rotation(cluster, wanted, { cert: made.certificatePem, key: made.keyPem ?? "" }, options);
    }
    if (rootCa.caKey.length === 0) await mustReachCa(cluster, wanted, present, "current", options);
    const { rootRotation } = rootCa;
    if (rootRotation !== undefined && rootRotation.caKey.length === 0) {
      await mustReachCa(cluster, wanted, pemText(rootRotation.caCert), "next", options);
    }
    return rootCa;
  }
  const next = { cert: await checkRoot(asked, options.clock.now()), key: asked.key };
  const lastForcedRotation = wanted.forceRotate;
  const keyFor = async (known: Uint8Array): Promise<Uint8Array> => {
    if (next.key !== "") return Buffer.from(next.key);
    if (known.length > 0 && externalUrls(cluster, next.cert, wanted.externalCas).length === 0) return known;
    await mustReachCa(cluster, wanted, next.cert, "desired", options);
    return new Uint8Array();
  };
  if (next.cert === present) {
    const caKey = await keyFor(rootCa.caKey);
    return { ...rootCa, caKey, rootRotation: undefined, lastForcedRotation };
  }
  const { rootRotation } = rootCa;
  if (rootRotation !== undefined && normalizePem(pemText(rootRotation.caCert), "next root") === next.cert) {
    return {
      ...rootCa,
      rootRotation: { ...rootRotation, caKey: await keyFor(rootRotation.caKey) },
      lastForcedRotation,
    };
  }
  if (sameKey(next.cert, present)) {
    throw new SwarmError(
      "InvalidArgument",
      "Cannot update to a cert with an identical key: make a root with a new key",
    );
  }
  if (next.key === "") await mustReachCa(cluster, wanted, next.cert, "desired", options);
  return await rotation(cluster, wanted, next, options);
}

/** The root CA with a rotation to `next`, cross-signed by the present root. */
async function rotation(
  cluster: Cluster,
  wanted: CAConfig,
  next: { readonly cert: string; readonly key: string },
  options: NextRootOptions,
): Promise<RootCAObject> {
  const { rootCa } = cluster;
  const present = pemText(rootCa.caCert);
  const crossSigned = await crossSign(cluster, wanted, next, options);
  const cross = parseCertificate(crossSigned, "cross-signed root");
  const by = splitPem(present).map((pem) => new ParsedCertificate(pem));
  const good = cross.ca && sameKey(crossSigned, next.cert) && by.some((root) => cross.verify(root.publicKey));
  if (!good) {
    throw new SwarmError(
      "FailedPrecondition",
      "the certificate that was to link the new root to the present one does not",
    );
  }
  return {
    ...rootCa,
    rootRotation: RootRotation.create({
      caCert: Buffer.from(next.cert),
      caKey: Buffer.from(next.key),
      crossSignedCaCert: Buffer.from(crossSigned),
    }),
    lastForcedRotation: wanted.forceRotate,
  };
}

async function crossSign(
  cluster: Cluster,
  wanted: CAConfig,
  next: { readonly cert: string; readonly key: string },
  options: NextRootOptions,
): Promise<string> {
  const present = pemText(cluster.rootCa.caCert);
  if (cluster.rootCa.caKey.length > 0) {
    const old = RootCA.fromPem({ certificatePem: present, keyPem: pemText(cluster.rootCa.caKey) });
    return await old.crossSign(next.cert);
  }
  if (next.key === "") {
    throw new SwarmError(
      "InvalidArgument",
      "rotating from one external CA to a different external CA is not supported: give the new root's key (--ca-key)",
    );
  }
  await mustReachCa(cluster, wanted, present, "current", options);
  const urls = externalUrls(cluster, present, wanted.externalCas);
  return await crossSignExternally(urls, next, { rootPem: present, ...options });
}

/** The certificate in its fixed form, fit to be a root of `asked.key`. Throws InvalidArgument. */
async function checkRoot(asked: { readonly cert: string; readonly key: string }, now: Millis): Promise<string> {
  const cert = normalizePem(asked.cert, "signing CA certificate");
  const refuse = (why: string) => new SwarmError("InvalidArgument", why);
  if (splitPem(cert).length > 1) throw refuse("the desired CA certificate cannot contain multiple certificates");
  RootCA.fromPem({ certificatePem: cert });
  const parsed = parseCertificate(cert, "signing CA certificate");
  if (Date.parse(parsed.validTo) < now + rootValidityMinMs) {
    throw refuse(`CA certificate expires too soon: on ${parsed.validTo}: it has to be valid for another year`);
  }
  if (Date.parse(parsed.validFrom) > now) throw refuse(`CA certificate is not valid before ${parsed.validFrom}`);
  if (asked.key !== "") {
    await signingKey(asked.key);
    if (!parsed.checkPrivateKey(readPrivateKey(asked.key))) {
      throw refuse("signing CA key: it is not the key of the signing CA certificate");
    }
  }
  return cert;
}

function checkUrls(externalCas: readonly ExternalCA[]): void {
  for (const { url, caCert } of externalCas) {
    if (!URL.canParse(url) || new URL(url).protocol !== "https:") {
      throw new SwarmError("InvalidArgument", `external CA: url "${url}": invalid HTTP scheme: it has to be https://…`);
    }
    if (caCert.length > 0 && splitPem(pemText(caCert)).length === 0) {
      throw new SwarmError("InvalidArgument", `external CA ${url}: its CA certificate is not PEM`);
    }
  }
}

/** Throws InvalidArgument unless one external CA for the root `rootPem` can be reached, saying why each cannot. */
async function mustReachCa(
  cluster: Cluster,
  { externalCas }: CAConfig,
  rootPem: string,
  which: string,
  options: NextRootOptions,
): Promise<void> {
  const reasons: string[] = [];
  for (const url of externalUrls(cluster, rootPem, externalCas)) {
    // While a rotation runs, the CA's own certificate may still be of the present root.
    const roots = rootPem + pemText(cluster.rootCa.caCert);
    const why = await whyUnreachable(url, { rootPem: roots, ...options });
    if (why === undefined) return;
    reasons.push(`${url}: ${why}`);
  }
  throw new SwarmError(
    "InvalidArgument",
    `there must be at least one valid, reachable external CA corresponding to the ${which} CA certificate` +
      (reasons.length > 0 ? `: ${reasons.join("; ")}` : ": none is given for it"),
  );
}

function sameKey(aPem: string, bPem: string): boolean {
  const [a, b] = [aPem, bPem].map((pem) => Buffer.from(issuerPublicKey(pem)));
  return a!.equals(b!);
}

function issuerPublicKey(pem: string): Uint8Array {
  return issuerInfo(pem).certIssuerPublicKey;
}
