import { generateKeyPair, type KeyObject, sign } from "node:crypto";
import { promisify } from "node:util";

/** ASN.1 classes of a request alone, loaded when one is made: a third of the whole certificate library's CPU time. */
const asn1 = () => import("./certificate-request-asn1.ts");

/** ECDSA with SHA-256 (RFC 5758 §3.2). */
const ecdsaWithSha256 = "1.2.840.10045.4.3.2";

/** A new key (ECDSA on P-256) and a request to certify it (RFC 2986). The subject is empty: the CA decides who the node is. */
export async function newCertificateRequest(): Promise<{ readonly csrPem: string; readonly keyPem: string }> {
  const [{ publicKey, privateKey }, classes] = await Promise.all([
    promisify(generateKeyPair)("ec", { namedCurve: "P-256" }),
    asn1(),
  ]);
  return {
    csrPem: pem("CERTIFICATE REQUEST", encodeRequest(publicKey, privateKey, classes)),
    keyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

function encodeRequest(publicKey: KeyObject, privateKey: KeyObject, classes: Awaited<ReturnType<typeof asn1>>): Buffer {
  const { AlgorithmIdentifier, AsnConvert, CertificationRequest, CertificationRequestInfo } = classes;
  const { Attributes, Name, SubjectPublicKeyInfo } = classes;
  const certificationRequestInfo = new CertificationRequestInfo({
    subject: new Name(),
    subjectPKInfo: AsnConvert.parse(publicKey.export({ type: "spki", format: "der" }), SubjectPublicKeyInfo),
    attributes: new Attributes(),
  });
  const signed = Buffer.from(AsnConvert.serialize(certificationRequestInfo));
  const signature = sign("sha256", signed, { key: privateKey, dsaEncoding: "der" });
  const request = new CertificationRequest({
    certificationRequestInfo,
    signatureAlgorithm: new AlgorithmIdentifier({ algorithm: ecdsaWithSha256 }),
    signature: new Uint8Array(signature).buffer,
  });
  return Buffer.from(AsnConvert.serialize(request));
}

function pem(label: string, der: Buffer): string {
  const body = der.toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}
