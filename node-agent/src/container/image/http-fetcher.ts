import { type Agent, type IncomingMessage, Agent as PlainAgent, request as plainRequest } from "node:http";
import { request as secureRequest, Agent as TlsAgent } from "node:https";
import type { Millis } from "@starling/base";

/** A connection on which nothing comes for this long is given up. */
const silenceMs: Millis = 30_000;

/**
 * GET requests over kept connections, answered by a stream. Node's own client: any other costs every swarmd tens of
 * megabytes.
 */
export class HttpFetcher {
  readonly #plain = new PlainAgent({ keepAlive: true });
  readonly #tls = new TlsAgent({ keepAlive: true });

  /** The answer whatever its status; its body is to be read to the end, resumed or destroyed. Rejects as the socket does. */
  get(
    url: string,
    options: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
  ): Promise<IncomingMessage> {
    const isTls = url.startsWith("https:");
    const agent: Agent = isTls ? this.#tls : this.#plain;
    return new Promise((resolve, reject) => {
      const call = (isTls ? secureRequest : plainRequest)(url, { ...options, agent, timeout: silenceMs });
      call.once("timeout", () => call.destroy(new Error(`no answer within ${silenceMs} ms`)));
      call.on("error", reject);
      call.once("response", resolve);
      call.end();
    });
  }

  /** Ends all connections, those in use too. */
  close(): void {
    this.#plain.destroy();
    this.#tls.destroy();
  }
}
