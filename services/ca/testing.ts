/** For tests of the whole repository: an external CA, and roots as other tools make them. */
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { managerRole, workerRole } from "@starling/api/rpc";
import { newCertificateRequest } from "./certificate-request.ts";
import type { CfsslSignRequest } from "./external-ca.ts";
import { newKeyPair, privateKeyPem, signingKey } from "./keys.ts";
import { type RootCA, splitPem } from "./root-ca.ts";
import { x509 } from "./x509.ts";

/** Speaks CFSSL's `sign` with the key of `root`, to managers whose certificate is of one of `trusted`. */
export class CfsslServer {
  readonly requests: CfsslSignRequest[] = [];
  /** Signs with this root instead of its own, when set. */
  signsWith: RootCA | undefined;
  /** Takes the place of the answer, when set. */
  answers: ((request: CfsslSignRequest) => { readonly status: number; readonly body: string } | undefined) | undefined;
  readonly #root: RootCA;
  readonly #server: Server;

  private constructor(root: RootCA, server: Server) {
    this.#root = root;
    this.#server = server;
  }

  static async start(root: RootCA, trustedPem = root.certificatePem): Promise<CfsslServer> {
    const { csrPem, keyPem } = await newCertificateRequest();
    const subject = { nodeId: "localhost", role: workerRole, organization: "external-ca" };
    const cert = await root.signRequest(Buffer.from(csrPem), subject, { now: Date.now() });
    const server = createServer({ cert, key: keyPem, ca: trustedPem, requestCert: true, rejectUnauthorized: true });
    const cfssl = new CfsslServer(root, server);
    server.on("request", async (request, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { subject: caller } = (request.socket as TLSSocket).getPeerCertificate();
      const allowed = request.method === "POST" && [caller.OU].flat().includes(managerRole);
      const body = JSON.parse(Buffer.concat(chunks).toString("utf8")) as CfsslSignRequest;
      const { status, body: answer } = allowed ? await cfssl.#answer(body) : { status: 403, body: "managers only" };
      response.writeHead(status, { "content-type": "application/json" }).end(answer);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return cfssl;
  }

  get url(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}/api/v1/cfssl/sign`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: CfsslSignRequest): Promise<{ readonly status: number; readonly body: string }> {
    this.requests.push(request);
    const given = this.answers?.(request);
    if (given) return given;
    try {
      const root = this.signsWith ?? this.#root;
      const certificate = await (request.profile === "CA" ? crossSigned(root, request) : leaf(root, request));
      return {
        status: 200,
        body: JSON.stringify({ success: true, result: { certificate }, errors: [], messages: [] }),
      };
    } catch (error) {
      const errors = [{ code: 5100, message: (error as Error).message }];
      return { status: 200, body: JSON.stringify({ success: false, result: null, errors, messages: [] }) };
    }
  }
}

async function leaf(root: RootCA, { certificate_request: csr, subject }: CfsslSignRequest): Promise<string> {
  const { OU = "", O = "" } = subject.names[0] ?? {};
  const named = { nodeId: subject.CN, role: OU, organization: O };
  return splitPem(await root.signRequest(Buffer.from(csr), named, { now: Date.now() }))[0]!;
}

async function crossSigned(root: RootCA, { certificate_request: csr }: CfsslSignRequest): Promise<string> {
  const lib = await x509();
  const request = new lib.Pkcs10CertificateRequest(csr);
  const issuer = new lib.X509Certificate(root.certificatePem);
  const { key, algorithm } = await signingKey(root.keyPem ?? "");
  const certificate = await lib.X509CertificateGenerator.create({
    subject: request.subjectName,
    issuer: issuer.subjectName,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 5 * 365 * 24 * 3_600_000),
    signingAlgorithm: algorithm,
    publicKey: request.publicKey,
    signingKey: key as never,
    extensions: [
      new lib.KeyUsagesExtension(lib.KeyUsageFlags.keyCertSign | lib.KeyUsageFlags.cRLSign, true),
      new lib.BasicConstraintsExtension(true, 1, true),
      await lib.SubjectKeyIdentifierExtension.create(request.publicKey),
      await lib.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

/** A self-signed root named `CN=name`, valid for `years`, with an RSA key if wanted and a key identifier of its own making. */
export async function foreignRoot(
  name: string,
  { years = 10, rsa = false }: { readonly years?: number; readonly rsa?: boolean } = {},
): Promise<{ readonly certPem: string; readonly keyPem: string }> {
  const lib = await x509();
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 2048 };
  const rsaAlgorithm = { ...algorithm, publicExponent: new Uint8Array([1, 0, 1]) };
  const keys = rsa ? await crypto.subtle.generateKey(rsaAlgorithm, true, ["sign", "verify"]) : await newKeyPair();
  const certificate = await lib.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}, O=Example`,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + years * 365 * 24 * 3_600_000),
    signingAlgorithm: rsa ? algorithm : { name: "ECDSA", hash: "SHA-256" },
    keys: keys as never,
    extensions: [
      new lib.BasicConstraintsExtension(true, undefined, true),
      new lib.KeyUsagesExtension(lib.KeyUsageFlags.keyCertSign | lib.KeyUsageFlags.cRLSign, true),
      new lib.SubjectKeyIdentifierExtension(Buffer.from(name.padEnd(20)).toString("hex")),
    ],
  });
  return { certPem: `${certificate.toString("pem")}\n`, keyPem: await privateKeyPem(keys.privateKey as never) };
}

/** A certificate like `chainPem`'s first one, for the same key and by `root`, that ran out an hour ago. */
export async function expiredTwin(chainPem: string, root: { readonly certPem: string; readonly keyPem: string }) {
  const lib = await x509();
  const twin = new lib.X509Certificate(splitPem(chainPem)[0]!);
  const { key, algorithm } = await signingKey(root.keyPem);
  const certificate = await lib.X509CertificateGenerator.create({
    subject: twin.subjectName,
    issuer: twin.issuerName,
    notBefore: new Date(Date.now() - 90 * 24 * 3_600_000),
    notAfter: new Date(Date.now() - 3_600_000),
    signingAlgorithm: algorithm,
    publicKey: twin.publicKey,
    signingKey: key as never,
    extensions: twin.extensions,
  });
  return `${certificate.toString("pem")}\n`;
}
