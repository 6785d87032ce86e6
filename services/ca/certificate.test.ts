import "reflect-metadata";
import { X509Certificate } from "@peculiar/x509";
import { describe, expect, it } from "vitest";
import { tlsInfo } from "./certificate.ts";
import { newCertificateRequest } from "./certificate-request.ts";
import { RootCA } from "./root-ca.ts";

describe("tlsInfo", () => {
  it("names the issuer as the certificate does, byte for byte", async () => {
    const now = Date.now();
    const root = await RootCA.create(now);
    const { csrPem } = await newCertificateRequest();
    const subject = { nodeId: "n1", role: "swarm-worker", organization: "c1" };
    const chainPem = await root.signRequest(Buffer.from(csrPem), subject, { now });
    const info = tlsInfo(chainPem, root.certificatePem);
    const issuer = new X509Certificate(chainPem).issuerName;
    expect(Buffer.from(info.certIssuerSubject).toString("hex")).toBe(
      Buffer.from(issuer.toArrayBuffer()).toString("hex"),
    );
    const rootKey = new X509Certificate(root.certificatePem).publicKey.rawData;
    expect(Buffer.from(info.certIssuerPublicKey).equals(Buffer.from(rootKey))).toBe(true);
  });
});
