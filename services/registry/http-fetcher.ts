import { type Agent, type IncomingMessage, Agent as PlainAgent, request as plainRequest } from "node:http";
import { request as secureRequest, Agent as TlsAgent } from "node:https";
import type { SecureContext } from "node:tls";
import type { Millis } from "@starling/base";

/** A connection on which nothing comes for this long is given up. */
const silenceMs: Millis = 30_000;

export interface FetchOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** A form to be posted; without one the request is a GET. */
  readonly form?: URLSearchParams;
}

/**
 * Requests over kept connections, answered by a stream. Node's own client: any other costs every swarmd tens of
 * megabytes.
 */
export class HttpFetcher {
  readonly #tlsOf: (hostPort: string) => { readonly context: SecureContext; readonly verify: boolean };
  readonly #plain = new PlainAgent({ keepAlive: true });
  readonly #tls = new Map<string, TlsAgent>();

  /** `tlsOf` says once for each `host[:port]` whom to trust there. */
  constructor(tlsOf: (hostPort: string) => { readonly context: SecureContext; readonly verify: boolean }) {
    this.#tlsOf = tlsOf;
  }

  /** The answer whatever its status; its body is to be read to the end, resumed or destroyed. Rejects as the socket does. */
  async fetch(url: string, { headers, signal, form }: FetchOptions): Promise<IncomingMessage> {
    const isTls = url.startsWith("https:");
    const agent: Agent = isTls ? this.#tlsAgent(new URL(url).host) : this.#plain;
    const body = form?.toString();
    const formHeaders = {
      "content-type": "application/x-www-form-urlencoded",
      "content-length": Buffer.byteLength(body ?? ""),
    };
    return await new Promise((resolve, reject) => {
      const call = (isTls ? secureRequest : plainRequest)(url, {
        method: body === undefined ? "GET" : "POST",
        headers: body === undefined ? headers : { ...headers, ...formHeaders },
        signal,
        agent,
        timeout: silenceMs,
      });
      call.once("timeout", () => call.destroy(new Error(`no answer within ${silenceMs} ms`)));
      call.on("error", reject);
      call.once("response", resolve);
      call.end(body);
    });
  }

  /** Ends all connections, those in use too. */
  close(): void {
    this.#plain.destroy();
    for (const agent of this.#tls.values()) agent.destroy();
  }

  #tlsAgent(hostPort: string): TlsAgent {
    let agent = this.#tls.get(hostPort);
    if (agent === undefined) {
      const { context, verify } = this.#tlsOf(hostPort);
      agent = new TlsAgent({ keepAlive: true, secureContext: context, rejectUnauthorized: verify });
      this.#tls.set(hostPort, agent);
    }
    return agent;
  }
}
