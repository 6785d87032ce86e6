import "reflect-metadata";
import { generateKeyPairSync, webcrypto, X509Certificate } from "node:crypto";
import * as foreign from "@peculiar/x509";
import { describe, expect, it } from "vitest";
import { newCertificateRequest, RootCA } from "./index.ts";
import { keyOfRequest, partsOfCertificate, publicKeyInfo, signRequest } from "./x509.ts";

const now = Date.UTC(2026, 10, 22, 12);
const subject = { nodeId: "node1", role: "swarm-manager", organization: "cluster1" };

async function issue() {
  const root = await RootCA.create(now);
  const { csrPem } = await newCertificateRequest();
  return { root, chainPem: await root.signRequest(Buffer.from(csrPem), subject, { now }) };
}

describe("certificates and requests", () => {
  it("are read by another library as they were meant", async () => {
    const { root, chainPem } = await issue();
    const authority = new foreign.X509Certificate(root.certificatePem);
    const leaf = new foreign.X509Certificate(chainPem);
    expect(await leaf.verify({ publicKey: authority.publicKey, date: new Date(now) })).toBe(true);
    expect(leaf.subject).toBe("O=cluster1, OU=swarm-manager, CN=node1");
    expect(leaf.issuer).toBe("CN=swarm-ca");
    expect(leaf.getExtension(foreign.BasicConstraintsExtension)?.ca).toBe(false);
    expect(authority.getExtension(foreign.BasicConstraintsExtension)).toMatchObject({ ca: true, pathLength: 1 });
    const names = leaf.getExtension(foreign.SubjectAlternativeNameExtension)?.names.items.map(({ value }) => value);
    expect(names).toEqual(["swarm-manager", "node1", "swarm-ca"]);
    const authorityKeyId = leaf.getExtension(foreign.AuthorityKeyIdentifierExtension)?.keyId;
    expect(authorityKeyId).toBe(authority.getExtension(foreign.SubjectKeyIdentifierExtension)?.keyId);
    expect(await new foreign.Pkcs10CertificateRequest((await newCertificateRequest()).csrPem).verify()).toBe(true);
  });

  it("of another library are taken, with any curve that signs", async () => {
    const root = await RootCA.create(now);
    for (const namedCurve of ["P-256", "P-384"]) {
      const algorithm = { name: "ECDSA", namedCurve, hash: "SHA-384" };
      const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
      const request = await foreign.Pkcs10CertificateRequestGenerator.create({
        name: "CN=whatever",
        keys: keys as never,
        signingAlgorithm: algorithm,
      });
      const chainPem = await root.signRequest(Buffer.from(request.toString("pem")), subject, { now });
      const issued = new X509Certificate(chainPem);
      expect(issued.publicKey.asymmetricKeyDetails?.namedCurve).toBe(
        namedCurve === "P-256" ? "prime256v1" : "secp384r1",
      );
      expect(issued.verify(new X509Certificate(root.certificatePem).publicKey)).toBe(true);
    }
  });

  it("are refused when cut or changed anywhere", () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const der = Buffer.from(signRequest(privateKey).split("\n").slice(1, -2).join(""), "base64");
    const pem = (bytes: Buffer) =>
      Buffer.from(
        `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`,
      );
    expect(Buffer.from(keyOfRequest(pem(der)))).toEqual(publicKeyInfo(privateKey));
    for (let at = 0; at < der.length; at++) {
      const changed = Buffer.from(der);
      changed[at]! ^= 0x10;
      expect(() => keyOfRequest(pem(changed)), `byte ${at} changed`).toThrow(/^csr: /);
      expect(() => keyOfRequest(pem(der.subarray(0, at))), `cut at ${at}`).toThrow(/^csr: /);
    }
  });

  it("tell the parts that Swarm's nodes report", async () => {
    const { root, chainPem } = await issue();
    const parts = partsOfCertificate(new X509Certificate(chainPem).raw);
    expect(parts.issuer).toEqual(partsOfCertificate(new X509Certificate(root.certificatePem).raw).subject);
    expect(Buffer.from(parts.issuer)).toEqual(
      Buffer.from(new foreign.X509Certificate(chainPem).issuerName.toArrayBuffer()),
    );
  });
});
