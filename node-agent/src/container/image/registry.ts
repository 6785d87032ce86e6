import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { cidrContains, type ImageReference, parseAddress, parseCidr } from "@starling/api";
import { FatalTaskError, TemporaryError } from "../../exec/controller.ts";
import { HttpFetcher } from "./http-fetcher.ts";
import { BadImageError, type Descriptor, manifestTypes } from "./manifest.ts";

export interface RegistryCredentials {
  readonly username: string;
  readonly password: string;
  /** An OAuth2 refresh token instead of a password. */
  readonly identityToken: string;
}

const manifestMaxBytes = 4 << 20;
const redirectsMax = 5;
const defaultTokenSeconds = 60;

/** Docker's `X-Registry-Auth`: base64 of JSON. Empty or unreadable text: no credentials. */
export function parseRegistryAuth(encoded: string): RegistryCredentials | undefined {
  if (encoded === "") return undefined;
  try {
    const value = JSON.parse(Buffer.from(encoded, "base64url").toString()) as Record<string, unknown>;
    const text = (name: string) => (typeof value[name] === "string" ? value[name] : "");
    let [username, password] = [text("username"), text("password")];
    if (username === "" && text("auth") !== "") {
      const pair = Buffer.from(text("auth"), "base64").toString();
      [username, password] = [pair.slice(0, pair.indexOf(":")), pair.slice(pair.indexOf(":") + 1)];
    }
    return { username, password, identityToken: text("identitytoken") };
  } catch {
    return undefined;
  }
}

/**
 * The pulling half of the OCI distribution API. HTTPS, but plain HTTP to registries that `insecureRegistries` lists (hosts,
 * host:port, or CIDRs) and to loopback addresses. Failures: FatalTaskError for what does not exist or is denied,
 * TemporaryError for what may work later.
 */
export class RegistryClient {
  readonly #insecure: readonly string[];
  readonly #fetcher = new HttpFetcher();
  /** Bearer tokens by registry, repository and user, until they expire. */
  readonly #tokens = new Map<string, { readonly header: string; readonly expiresAtMs: number }>();
  readonly #now: () => number;

  constructor(options: { readonly insecureRegistries: readonly string[]; readonly now: () => number }) {
    this.#insecure = ["127.0.0.0/8", "::1/128", "localhost", ...options.insecureRegistries];
    this.#now = options.now;
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
    throw new TemporaryError(`registry ${image.domain}: asked for bytes from ${options.offset}, got from ${start}`);
  }

  #base(domain: string): string {
    const host = domain === "docker.io" ? "registry-1.docker.io" : domain;
    return `${this.#isInsecure(domain) ? "http" : "https"}://${host}`;
  }

  #isInsecure(domain: string): boolean {
    const host = domain.startsWith("[") ? domain.slice(1, domain.indexOf("]")) : domain.replace(/:\d+$/, "");
    const address = parseAddress(host);
    return this.#insecure.some((entry) => {
      if (entry === domain || entry === host) return true;
      const cidr = entry.includes("/") ? parseCidr(entry) : undefined;
      return cidr !== undefined && address !== undefined && cidrContains(cidr, address);
    });
  }

  async #get(
    image: ImageReference,
    path: string,
    options: {
      readonly accept: string;
      readonly credentials?: RegistryCredentials | undefined;
      readonly offset?: number;
      readonly signal: AbortSignal;
    },
  ): Promise<IncomingMessage> {
    const url = `${this.#base(image.domain)}/v2/${image.path}/${path}`;
    const tokenKey = `${image.domain}/${image.path} ${options.credentials?.username ?? ""}`;
    const cached = this.#tokens.get(tokenKey);
    const usable = cached !== undefined && cached.expiresAtMs > this.#now() ? cached.header : undefined;
    let response = await this.#fetch(url, { ...options, authorization: usable });
    if (response.statusCode === 401) {
      response.resume();
      const authorization = await this.#authorize(tokenKey, image, response.headers["www-authenticate"], options);
      if (authorization !== undefined) response = await this.#fetch(url, { ...options, authorization });
    }
    if (response.statusCode === 200 || response.statusCode === 206) return response;
    response.resume();
    throw refusal(image, response.statusCode ?? 0);
  }

  /** Follows redirects; the token goes only to the registry itself, not to where its blobs are kept. */
  async #fetch(
    start: string,
    options: {
      readonly accept: string;
      readonly authorization: string | undefined;
      readonly offset?: number;
      readonly signal: AbortSignal;
    },
  ): Promise<IncomingMessage> {
    let url = start;
    for (let hops = 0; hops <= redirectsMax; hops++) {
      const sameOrigin = new URL(url).origin === new URL(start).origin;
      const headers: Record<string, string> = { accept: options.accept };
      if (options.offset) headers["range"] = `bytes=${options.offset}-`;
      if (options.authorization !== undefined && sameOrigin) headers["authorization"] = options.authorization;
      const response = await this.#request(url, { headers, signal: options.signal });
      const location = response.headers["location"];
      if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || typeof location !== "string")
        return response;
      response.resume();
      url = new URL(location, url).toString();
      if (!/^https?:/.test(url)) break;
    }
    throw new TemporaryError(`registry: too many redirects from ${new URL(start).host}`);
  }

  async #request(
    url: string,
    options: { readonly headers: Record<string, string>; readonly signal: AbortSignal },
  ): Promise<IncomingMessage> {
    try {
      return await this.#fetcher.get(url, options);
    } catch (error) {
      options.signal.throwIfAborted();
      const cause = error as NodeJS.ErrnoException;
      throw new TemporaryError(`registry ${new URL(url).host}: ${cause.message || cause.code || "unreachable"}`);
    }
  }

  /** The Authorization header that the challenge asks for; undefined when there is nothing to answer it with. */
  async #authorize(
    tokenKey: string,
    image: ImageReference,
    challenge: string | string[] | undefined,
    options: { readonly credentials?: RegistryCredentials | undefined; readonly signal: AbortSignal },
  ): Promise<string | undefined> {
    const text = Array.isArray(challenge) ? challenge.join(", ") : (challenge ?? "");
    const basic =
      options.credentials === undefined || options.credentials.username === ""
        ? undefined
        : `Basic ${Buffer.from(`${options.credentials.username}:${options.credentials.password}`).toString("base64")}`;
    if (/^basic/i.test(text)) return basic;
    if (!/^bearer/i.test(text)) return undefined;
    const parameters = Object.fromEntries(
      [...text.matchAll(/(\w+)="([^"]*)"/g)].map((match) => [match[1]!, match[2]!]),
    );
    const realm = parameters["realm"];
    if (realm === undefined || !/^https?:/.test(realm)) return undefined;
    const url = new URL(realm);
    if (parameters["service"] !== undefined) url.searchParams.set("service", parameters["service"]);
    url.searchParams.set("scope", parameters["scope"] ?? `repository:${image.path}:pull`);
    const response = await this.#request(url.toString(), {
      headers: basic === undefined ? {} : { authorization: basic },
      signal: options.signal,
    });
    if (response.statusCode !== 200) {
      response.resume();
      throw refusal(image, response.statusCode ?? 0);
    }
    const answer = JSON.parse((await readLimited(response, 1 << 20)).toString()) as Record<string, unknown>;
    const token = answer["token"] ?? answer["access_token"];
    if (typeof token !== "string") return undefined;
    const seconds = typeof answer["expires_in"] === "number" ? answer["expires_in"] : defaultTokenSeconds;
    const header = `Bearer ${token}`;
    this.#tokens.set(tokenKey, { header, expiresAtMs: this.#now() + (seconds - 5) * 1000 });
    return header;
  }
}

function refusal(image: ImageReference, status: number): Error {
  const name = displayName(image);
  if (status === 404) return new FatalTaskError(`No such image: ${name}`);
  if (status === 401 || status === 403) {
    return new FatalTaskError(`pull access denied for ${name}, repository does not exist or may require authorization`);
  }
  return new TemporaryError(`registry ${image.domain}: HTTP status ${status} for ${name}`);
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

async function readLimited(body: Readable, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new BadImageError(`registry: answer larger than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
