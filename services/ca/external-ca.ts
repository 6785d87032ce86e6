import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { connect } from "node:tls";
import { type Cluster, type ExternalCA, ExternalCA_CAProtocol } from "@starling/api";
import { type Clock, type Millis, SwarmError } from "@starling/base";
import { pemText } from "./cluster.ts";
import { normalizePem } from "./root-ca.ts";

/** How long one endpoint may take (Swarm: ExternalRequestTimeout). */
const requestTimeoutMs: Millis = 5_000;
/** More than any certificate with its chain takes (Swarm: CertificateMaxSize). */
const answerBytesMax = 256 * 1024;

/** What a manager shows to external CAs. */
export interface ExternalCaIdentity {
  readonly chainPem: string;
  readonly keyPem: string;
}

/** A request to sign, in CFSSL's words. */
export interface CfsslSignRequest {
  readonly hosts?: readonly string[];
  /** PKCS #10, PEM. */
  readonly certificate_request: string;
  readonly subject: { readonly CN: string; readonly names: readonly Readonly<Record<string, string>>[] };
  /** Which of the CA's rules apply; its default ones when left out. */
  readonly profile?: string;
  readonly extensions?: readonly { readonly id: string; readonly critical: boolean; readonly value: string }[];
}

export interface ExternalCaOptions {
  /** PEM; the endpoint's certificate must be of one of these. */
  readonly rootPem: string;
  readonly identity: ExternalCaIdentity;
  readonly clock: Clock;
}

/** The endpoints that sign for the root `rootPem`; those that name no root are taken to be of the cluster's present one. */
export function externalUrls(cluster: Cluster, rootPem: string, externalCas: readonly ExternalCA[]): string[] {
  const wanted = normalizePem(rootPem, "root certificate");
  return externalCas
    .filter(({ protocol, caCert }) => {
      const own = pemText(caCert.length > 0 ? caCert : cluster.rootCa.caCert);
      return protocol === ExternalCA_CAProtocol.CFSSL && normalizePem(own, "external CA's certificate") === wanted;
    })
    .map(({ url }) => url);
}

/**
 * The certificate (PEM) that the first endpoint to answer has issued. Throws Unavailable when none can be asked or understood
 * (to be tried again), FailedPrecondition when the CA refuses.
 */
export async function signExternally(
  urls: readonly string[],
  request: CfsslSignRequest,
  options: ExternalCaOptions,
): Promise<string> {
  let last: SwarmError | undefined;
  for (const url of urls) {
    try {
      return await askToSign(url, request, options);
    } catch (thrown) {
      last = SwarmError.from(thrown);
    }
  }
  throw last ?? new SwarmError("Unavailable", "no external CA is known for the cluster's root certificate");
}

/** Why `url` cannot be an endpoint of a CA of `rootPem`, by a TLS handshake with it; undefined when it can. */
export async function whyUnreachable(url: string, options: ExternalCaOptions): Promise<string | undefined> {
  const { hostname, port } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, "");
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const servername = isIP(host) ? {} : { servername: host };
  const socket = connect({ host, port: Number(port || 443), ...servername, ...tlsOf(options) });
  const timer = options.clock.setTimer(requestTimeoutMs, () =>
    resolve(`no answer within ${requestTimeoutMs / 1000} s`),
  );
  socket.once("secureConnect", () => resolve(undefined));
  socket.once("error", (error) => resolve(error.message));
  socket.once("close", () => resolve("the connection was closed"));
  try {
    return await promise;
  } finally {
    timer.cancel();
    socket.destroy();
  }
}

async function askToSign(url: string, request: CfsslSignRequest, options: ExternalCaOptions): Promise<string> {
  const { status, body } = await post(url, JSON.stringify(request), options);
  if (status !== 200) throw unavailable(url, `HTTP status ${status}: ${body.slice(0, 200)}`);
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    throw unavailable(url, "the answer is not JSON");
  }
  const { success, result, errors } = (answer ?? {}) as Readonly<Record<string, unknown>>;
  if (success !== true || typeof result !== "object" || result === null) {
    const why = Array.isArray(errors) && errors.length > 0 ? JSON.stringify(errors).slice(0, 500) : "no reason given";
    throw new SwarmError("FailedPrecondition", `external CA ${url} refused to sign: ${why}`);
  }
  const { certificate } = result as Readonly<Record<string, unknown>>;
  if (typeof certificate !== "string") {
    throw new SwarmError("FailedPrecondition", `external CA ${url} answered without a certificate`);
  }
  return normalizePem(certificate, `external CA ${url}'s answer`);
}

function post(url: string, body: string, options: ExternalCaOptions): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
  const fail = (error: Error) => reject(unavailable(url, error.message));
  // A connection of its own: the certificates that it is opened with change.
  const call = httpsRequest(
    url,
    {
      method: "POST",
      agent: false,
      headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
      ...tlsOf(options),
    },
    (response) => {
      const chunks: Buffer[] = [];
      let length = 0;
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        if (length > answerBytesMax) call.destroy(new Error(`the answer is longer than ${answerBytesMax} bytes`));
        else chunks.push(chunk);
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }),
      );
      response.on("error", fail);
    },
  );
  const timer = options.clock.setTimer(requestTimeoutMs, () =>
    call.destroy(new Error(`no answer within ${requestTimeoutMs / 1000} s`)),
  );
  call.on("error", fail);
  call.on("close", () => timer.cancel());
  call.end(body);
  return promise;
}

function tlsOf({ rootPem, identity }: ExternalCaOptions) {
  return { ca: rootPem, cert: identity.chainPem, key: identity.keyPem, minVersion: "TLSv1.2" } as const;
}

function unavailable(url: string, why: string): SwarmError {
  return new SwarmError("Unavailable", `external CA ${url}: ${why}`);
}
