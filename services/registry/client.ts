import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { ImageReference } from "@starling/api";
import { type Clock, type Millis, SwarmError } from "@starling/base";
import { askCredentialHelper, type RegistryCredentials } from "./credentials.ts";
import { HttpFetcher } from "./http-fetcher.ts";
import { BadImageError, type Descriptor, manifestTypes } from "./manifest.ts";
import { credentialHelperOf, isInsecure, type RegistrySettings } from "./settings.ts";
import { registryTls } from "./tls.ts";

const manifestMaxBytes = 4 << 20;
const redirectsMax = 5;
const defaultTokenSeconds = 60;
/** However long a registry asks to be left alone. */
const retryAfterMaxMs: Millis = 120_000;

interface RequestOptions {
  readonly accept: string;
  readonly credentials?: RegistryCredentials | undefined;
  readonly offset?: number;
  readonly signal: AbortSignal;
}

/** Where an image's registry is asked: itself, or a mirror. */
interface Endpoint {
  /** `https://host:port`; of an insecure one without scheme until it has answered. */
  readonly url: string;
  /** Its name among credentials. */
  readonly name: string;
  readonly isMirror: boolean;
}

/** What one registry answered to a request, when that was neither success nor a challenge. */
class AccessDenied extends SwarmError {
  constructor(message: string) {
    super("PermissionDenied", message);
  }
}

/**
 * The pulling half of the OCI distribution API. A registry's mirrors are asked before it. TLS with the host's CAs and those of
 * certs.d; insecure registries by TLS without a check of the certificate, or without TLS. The task's credentials are tried
 * first, then those of the node's credential helper. Failures: SwarmError NotFound for what does not exist, PermissionDenied for what
 * is refused, Unavailable for what may work later, BadImageError for what is not as it should be; a registry that asks for
 * patience is left alone for as long.
 */
export class RegistryClient {
  readonly #settings: RegistrySettings;
  readonly #clock: Clock;
  readonly #fetcher: HttpFetcher;
  /** Authorization headers by endpoint, repository and user, until they expire. */
  readonly #tokens = new Map<string, { readonly header: string; readonly expiresAtMs: Millis }>();
  /** By `host[:port]`: not asked before this time. */
  readonly #notBefore = new Map<string, Millis>();
  /** Schemes of insecure registries that have answered. */
  readonly #schemes = new Map<string, "http" | "https">();

  constructor(options: { readonly settings: RegistrySettings; readonly clock: Clock }) {
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#fetcher = new HttpFetcher((hostPort) => ({
      context: registryTls(hostPort, this.#settings.certificateFolders),
      verify: !isInsecure(hostPort, this.#settings),
    }));
  }

  close(): void {
    this.#fetcher.close();
  }

  /** The manifest that `tagOrDigest` names now, with its digest computed here. */
  async manifest(
    image: ImageReference,
    tagOrDigest: string,
    options: { readonly credentials?: RegistryCredentials | undefined; readonly signal: AbortSignal },
  ): Promise<{ readonly digest: string; readonly text: string }> {
    const response = await this.#get(image, `manifests/${tagOrDigest}`, {
      ...options,
      accept: manifestTypes.join(", "),
    });
    const bytes = await readLimited(response, manifestMaxBytes);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    if (tagOrDigest.includes(":") && digest !== tagOrDigest) {
      throw new BadImageError(`registry ${image.domain} gave a manifest with digest ${digest} for ${tagOrDigest}`);
    }
    return { digest, text: bytes.toString("utf8") };
  }

  /** A small blob (an image config), checked. */
  async smallBlob(
    image: ImageReference,
    blob: Descriptor,
    options: { readonly credentials?: RegistryCredentials | undefined; readonly signal: AbortSignal },
  ): Promise<string> {
    const response = await this.#get(image, `blobs/${blob.digest}`, { ...options, accept: "*/*" });
    const bytes = await readLimited(response, manifestMaxBytes);
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    if (digest !== blob.digest) throw new BadImageError(`registry ${image.domain} gave ${digest} for ${blob.digest}`);
    return bytes.toString("utf8");
  }

  /** A blob from `offset` on as a stream, unchecked. The caller reads it to its end or destroys it. */
  async blob(
    image: ImageReference,
    blob: { readonly digest: string; readonly size: number },
    options: {
      readonly credentials?: RegistryCredentials | undefined;
      readonly offset: number;
      readonly signal: AbortSignal;
    },
  ): Promise<Readable> {
    const response = await this.#get(image, `blobs/${blob.digest}`, { ...options, accept: "*/*" });
    const whole = response.statusCode === 200 ? response.headers["content-length"] : undefined;
    if (whole !== undefined && Number(whole) !== blob.size) {
      response.destroy();
      throw new BadImageError(`blob ${blob.digest}: the registry gave ${whole} bytes, its manifest says ${blob.size}`);
    }
    if (options.offset === 0) return response;
    if (response.statusCode === 200) return skipBytes(response, options.offset);
    const start = /^bytes (\d+)-/.exec(response.headers["content-range"] ?? "")?.[1];
    if (Number(start) === options.offset) return response;
    response.destroy();
    throw new SwarmError(
      "Unavailable",
      `registry ${image.domain}: asked for bytes from ${options.offset}, got from ${start}`,
    );
  }

  #endpoints(domain: string): readonly Endpoint[] {
    const host = domain === "docker.io" ? "registry-1.docker.io" : domain;
    const mirrors = this.#settings.mirrors[domain] ?? [];
    return [
      ...mirrors.map((url) => ({ url, name: new URL(url).host, isMirror: true })),
      { url: isInsecure(domain, this.#settings) ? host : `https://${host}`, name: domain, isMirror: false },
    ];
  }

  /** The first answer with content. What the registry itself says counts when no mirror has it. */
  async #get(image: ImageReference, path: string, options: RequestOptions): Promise<IncomingMessage> {
    let fault: unknown;
    for (const endpoint of this.#endpoints(image.domain)) {
      try {
        return await this.#getFrom(endpoint, image, path, options);
      } catch (error) {
        options.signal.throwIfAborted();
        fault = error;
      }
    }
    throw fault;
  }

  async #getFrom(
    endpoint: Endpoint,
    image: ImageReference,
    path: string,
    options: RequestOptions,
  ): Promise<IncomingMessage> {
    const rest = `/v2/${image.path}/${path}`;
    const given = endpoint.isMirror ? undefined : options.credentials;
    const tokenKey = `${endpoint.name}/${image.path} ${given?.username ?? ""} ${given?.identityToken ?? ""}`;
    const cached = this.#tokens.get(tokenKey);
    const usable = cached !== undefined && cached.expiresAtMs > this.#clock.monotonic() ? cached.header : undefined;
    let response = await this.#fetch(endpoint, rest, { ...options, authorization: usable });
    if (response.statusCode !== 401 && response.statusCode !== 403) return accepted(response, image, endpoint);
    const challenge = [response.headers["www-authenticate"] ?? ""].flat().join(", ");
    response.resume();
    let denied: Error = refusal(image, endpoint, response.statusCode);
    for (const credentialsOf of this.#candidates(endpoint, given)) {
      try {
        const credentials = await credentialsOf();
        const granted = await this.#authorize(challenge, image, endpoint, { credentials, signal: options.signal });
        if (granted === undefined) continue;
        response = await this.#fetch(endpoint, rest, { ...options, authorization: granted.header });
        if (response.statusCode !== 401 && response.statusCode !== 403) {
          const found = accepted(response, image, endpoint);
          this.#tokens.set(tokenKey, granted);
          return found;
        }
        response.resume();
        denied = refusal(image, endpoint, response.statusCode);
      } catch (error) {
        options.signal.throwIfAborted();
        if (!(error instanceof AccessDenied)) throw error;
        denied = error;
      }
    }
    throw denied;
  }

  /** Whose credentials are tried, in order: the task's, which may have expired; the node's; nobody's. */
  #candidates(endpoint: Endpoint, given: RegistryCredentials | undefined) {
    const helper = credentialHelperOf(endpoint.name, this.#settings);
    return [
      ...(given === undefined ? [] : [async () => given]),
      ...(helper === undefined ? [] : [() => askCredentialHelper(helper, endpoint.name)]),
      async () => undefined,
    ];
  }

  /** Follows redirects; the token goes only to the registry itself, not to where its blobs are kept. */
  async #fetch(
    endpoint: Endpoint,
    rest: string,
    options: RequestOptions & { readonly authorization: string | undefined },
  ): Promise<IncomingMessage> {
    const { accept, offset, authorization, signal } = options;
    const headers: Record<string, string> = { accept, ...(offset ? { range: `bytes=${offset}-` } : {}) };
    const own = authorization === undefined ? headers : { ...headers, authorization };
    const base = endpoint.url.includes("://") ? endpoint.url : await this.#insecureBase(endpoint.url, signal);
    const start = `${base}${rest}`;
    let url = start;
    for (let hops = 0; hops <= redirectsMax; hops++) {
      const isOwn = new URL(url).origin === new URL(start).origin;
      const response = await this.#request(url, { headers: isOwn ? own : headers, signal });
      const location = response.headers["location"];
      if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || typeof location !== "string")
        return response;
      response.resume();
      const next = new URL(location, url);
      const leavesTls = url.startsWith("https:") && next.protocol === "http:";
      if (!/^https?:$/.test(next.protocol) || (leavesTls && !isInsecure(next.host, this.#settings))) {
        throw new SwarmError(
          "Unavailable",
          `registry ${endpoint.name}: redirects to ${next.protocol}//${next.host}, which is not secure`,
        );
      }
      url = next.toString();
    }
    throw new SwarmError("Unavailable", `registry ${endpoint.name}: too many redirects`);
  }

  /** With which scheme an insecure registry answers: TLS if it speaks it. */
  async #insecureBase(host: string, signal: AbortSignal): Promise<string> {
    const known = this.#schemes.get(host);
    if (known !== undefined) return `${known}://${host}`;
    for (const scheme of ["https", "http"] as const) {
      try {
        (await this.#request(`${scheme}://${host}/v2/`, { headers: {}, signal })).resume();
        this.#schemes.set(host, scheme);
        return `${scheme}://${host}`;
      } catch (error) {
        if (scheme === "http") throw error;
      }
    }
    return `http://${host}`;
  }

  async #request(
    url: string,
    options: {
      readonly headers: Record<string, string>;
      readonly signal: AbortSignal;
      readonly form?: URLSearchParams;
    },
  ): Promise<IncomingMessage> {
    const { host } = new URL(url);
    const pauseMs = (this.#notBefore.get(host) ?? 0) - this.#clock.monotonic();
    if (pauseMs > 0) await this.#clock.sleep(pauseMs, options.signal);
    let response: IncomingMessage;
    try {
      response = await this.#fetcher.fetch(url, options);
    } catch (error) {
      options.signal.throwIfAborted();
      if (error instanceof SwarmError) throw error;
      const cause = error as NodeJS.ErrnoException;
      throw new SwarmError("Unavailable", `registry ${host}: ${cause.message || cause.code || "unreachable"}`);
    }
    const { statusCode = 0 } = response;
    if (statusCode === 429 || statusCode >= 500) {
      response.resume();
      const waitMs = retryAfterMs(response.headers["retry-after"], this.#clock.now());
      if (waitMs > 0) this.#notBefore.set(host, this.#clock.monotonic() + waitMs);
      const wait = waitMs > 0 ? `, to be asked again in ${Math.ceil(waitMs / 1000)} s` : "";
      throw new SwarmError("Unavailable", `registry ${host}: HTTP status ${statusCode}${wait}`);
    }
    return response;
  }

  /** The Authorization header that the challenge asks for; undefined when there is nothing to answer it with. */
  async #authorize(
    challenge: string,
    image: ImageReference,
    endpoint: Endpoint,
    options: { readonly credentials: RegistryCredentials | undefined; readonly signal: AbortSignal },
  ): Promise<{ readonly header: string; readonly expiresAtMs: Millis } | undefined> {
    const { credentials, signal } = options;
    const pair = `${credentials?.username}:${credentials?.password}`;
    const basic = credentials?.username ? `Basic ${Buffer.from(pair).toString("base64")}` : undefined;
    const nowMs = this.#clock.monotonic();
    if (/^basic/i.test(challenge)) {
      return basic === undefined ? undefined : { header: basic, expiresAtMs: Number.POSITIVE_INFINITY };
    }
    if (!/^bearer/i.test(challenge)) return undefined;
    const parameters = Object.fromEntries(
      [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map((match) => [match[1]!, match[2]!]),
    );
    const { realm, service, scope = `repository:${image.path}:pull` } = parameters;
    if (realm === undefined || !URL.canParse(realm)) return undefined;
    const url = new URL(realm);
    // Secrets go by TLS, unless the operator named the host insecure.
    const isSafe = url.protocol === "https:" || (url.protocol === "http:" && isInsecure(url.host, this.#settings));
    if (!isSafe)
      throw new SwarmError("Unavailable", `registry ${endpoint.name}: its token service ${url.origin} is not secure`);
    const asked = { ...(service === undefined ? {} : { service }), scope };
    let response: IncomingMessage;
    if (credentials?.identityToken) {
      const refresh = { grant_type: "refresh_token", refresh_token: credentials.identityToken, client_id: "starling" };
      const form = new URLSearchParams({ ...refresh, ...asked });
      response = await this.#request(url.toString(), { headers: {}, signal, form });
    } else {
      for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
      response = await this.#request(url.toString(), {
        headers: basic === undefined ? {} : { authorization: basic },
        signal,
      });
    }
    if (response.statusCode !== 200) {
      response.resume();
      throw refusal(image, endpoint, response.statusCode ?? 0);
    }
    let answer: Record<string, unknown>;
    try {
      answer = JSON.parse((await readLimited(response, 1 << 20)).toString()) as Record<string, unknown>;
    } catch {
      throw new SwarmError("Unavailable", `registry ${endpoint.name}: its token service ${url.origin} gave no JSON`);
    }
    const token = answer["token"] ?? answer["access_token"];
    if (typeof token !== "string") return undefined;
    const seconds = typeof answer["expires_in"] === "number" ? answer["expires_in"] : defaultTokenSeconds;
    return { header: `Bearer ${token}`, expiresAtMs: nowMs + (seconds - 5) * 1000 };
  }
}

function accepted(response: IncomingMessage, image: ImageReference, endpoint: Endpoint): IncomingMessage {
  if (response.statusCode === 200 || response.statusCode === 206) return response;
  response.resume();
  throw refusal(image, endpoint, response.statusCode ?? 0);
}

function refusal(image: ImageReference, endpoint: Endpoint, status = 0): Error {
  const name = displayName(image);
  if (status === 404) return new SwarmError("NotFound", `No such image: ${name}`);
  if (status === 400 || status === 401 || status === 403) {
    return new AccessDenied(`pull access denied for ${name}, repository does not exist or may require authorization`);
  }
  return new SwarmError("Unavailable", `registry ${endpoint.name}: HTTP status ${status} for ${name}`);
}

/** Of a `Retry-After` header (RFC 9110 §10.2.3): seconds, or a date. 0 when there is none. */
function retryAfterMs(header: string | undefined, nowMs: Millis): Millis {
  if (header === undefined) return 0;
  const waitMs = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - nowMs;
  return Number.isFinite(waitMs) ? Math.min(Math.max(waitMs, 0), retryAfterMaxMs) : 0;
}

/** As users write it: without docker.io and library/. */
export function displayName(image: ImageReference): string {
  const path = image.domain === "docker.io" ? image.path.replace(/^library\//, "") : `${image.domain}/${image.path}`;
  const tag = image.tag === "" && image.digest === "" ? ":latest" : image.tag === "" ? "" : `:${image.tag}`;
  return `${path}${tag}${image.digest === "" ? "" : `@${image.digest}`}`;
}

/** For registries that know no ranges. */
function skipBytes(body: Readable, count: number): Readable {
  return Readable.from(
    (async function* () {
      let left = count;
      for await (const chunk of body as AsyncIterable<Buffer>) {
        if (chunk.length > left) yield chunk.subarray(left);
        left = Math.max(0, left - chunk.length);
      }
    })(),
    { objectMode: false },
  );
}

/** A body whole; throws BadImageError when it is larger than `limit` bytes. */
export async function readLimited(body: Readable, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new BadImageError(`registry: answer larger than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
