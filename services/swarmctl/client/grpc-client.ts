import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import { createConnection } from "node:net";
import type { MethodTable } from "@starling/api";
import { systemClock } from "@starling/base/clock";
import { codeName, SwarmError } from "@starling/base/errors";
import { readSurely } from "./certain.ts";
import { frame, Unframer } from "./framing.ts";

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Deadline from now, milliseconds. */
  readonly timeoutMs?: number;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Longest wait for the answer to a unary call, unless told otherwise. A change of leader takes about a second. */
const callTimeoutMs = 30_000;

/**
 * gRPC over HTTP/2 on swarmd's local socket, as far as a command line needs it: calls of one request or of many.
 * Written on node:http2 because a command lives for a tenth of a second and loading a full gRPC library takes half of that.
 */
export class GrpcClient {
  readonly socket: string;
  /** The one connection, while it is being made too: calls at the same time share it. */
  #session: Promise<ClientHttp2Session> | undefined;

  constructor(socket: string) {
    this.socket = socket;
  }

  /** A unary call; one that only reads is made again when its answer was lost. Rejects with SwarmError. */
  async call<Req, Res>(
    method: MethodTable<Req, Res, false, false>,
    request: Req,
    options: CallOptions = {},
  ): Promise<Res> {
    const timeout = AbortSignal.timeout(options.timeoutMs ?? callTimeoutMs);
    const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
    const once = () => this.#once(method, request, signal, options.metadata);
    return await (isRead(method) ? readSurely({ clock: systemClock, signal }, once) : once());
  }

  async #once<Req, Res>(
    method: MethodTable<Req, Res, false, false>,
    request: Req,
    signal: AbortSignal,
    metadata: CallOptions["metadata"],
  ): Promise<Res> {
    for await (const response of this.#run(method, only(request), signal, metadata)) return response;
    throw new SwarmError("Internal", `${method.path}: the manager sent no answer`);
  }

  /** A server-streaming call. Leaving the loop cancels it. Throws SwarmError. */
  stream<Req, Res>(
    method: MethodTable<Req, Res, false, true>,
    request: Req,
    options: CallOptions = {},
  ): AsyncIterable<Res> {
    return this.#run(method, only(request), options.signal, options.metadata);
  }

  /**
   * A call that streams both ways: requests are taken as fast as the manager takes them. Leaving the loop cancels it. Throws
   * SwarmError, or what `requests` throws.
   */
  duplex<Req, Res>(
    method: MethodTable<Req, Res, true, true>,
    requests: AsyncIterable<Req>,
    options: CallOptions = {},
  ): AsyncIterable<Res> {
    return this.#run(method, requests, options.signal, options.metadata);
  }

  /** Ends the connection; calls under way fail. */
  close(): void {
    this.#session?.then(
      (session) => session.destroy(),
      // It was never made; who asked for it knows.
      () => undefined,
    );
  }

  async *#run<Req, Res>(
    method: MethodTable<Req, Res, boolean, boolean>,
    requests: AsyncIterable<Req>,
    signal: AbortSignal | undefined,
    metadata: CallOptions["metadata"],
  ): AsyncGenerator<Res> {
    signal?.throwIfAborted();
    const stream = await this.#open(method.path, metadata);
    const abort = () => stream.close(constants.NGHTTP2_CANCEL);
    signal?.addEventListener("abort", abort, { once: true });
    const status = statusOf(stream);
    // Awaited below unless the loop is left early; the stream's end is then no news.
    status.catch(() => undefined);
    let unsent: unknown;
    const sending = sendAll(stream, method, requests).catch((thrown) => {
      unsent = thrown;
      stream.close(constants.NGHTTP2_CANCEL);
    });
    try {
      const unframer = new Unframer();
      for await (const chunk of stream as AsyncIterable<Uint8Array>) {
        for (const message of unframer.push(chunk)) yield method.response.decode(message);
      }
      await status;
    } catch (thrown) {
      if (signal?.aborted) throw aborted(signal, this.socket);
      if (unsent !== undefined) throw unsent;
      throw thrown instanceof SwarmError ? thrown : await connectionLost(status, this.socket, thrown);
    } finally {
      signal?.removeEventListener("abort", abort);
      stream.close(constants.NGHTTP2_CANCEL);
      await sending;
    }
    if (signal?.aborted) throw aborted(signal, this.socket);
  }

  async #open(path: string, metadata: CallOptions["metadata"]): Promise<ClientHttp2Stream> {
    this.#session ??= dial(this.socket);
    let session = await this.#session;
    if (session.closed || session.destroyed) {
      this.#session = dial(this.socket);
      session = await this.#session;
    }
    return session.request({
      ...metadata,
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
  }
}

async function* only<T>(value: T): AsyncGenerator<T> {
  yield value;
}

/** Sends the requests one by one, waiting when the peer is slow; ends early when the stream does. */
async function sendAll<Req>(
  stream: ClientHttp2Stream,
  { request }: MethodTable<Req, unknown, boolean, boolean>,
  requests: AsyncIterable<Req>,
): Promise<void> {
  const closed = new Promise<"closed">((resolve) => stream.once("close", () => resolve("closed")));
  const iterator = requests[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), closed]);
      if (next === "closed") return;
      if (next.done) break;
      if (stream.write(frame(request.encode(next.value)))) continue;
      const drained = new Promise<"drained">((resolve) => stream.once("drain", () => resolve("drained")));
      if ((await Promise.race([drained, closed])) === "closed") return;
    }
    stream.end();
  } finally {
    // Not awaited: it may wait for input that does not come.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

/** By Swarm's naming. */
function isRead({ path }: { readonly path: string }): boolean {
  return /\/(Get|List)[A-Z]\w*$/.test(path);
}

function dial(socket: string): Promise<ClientHttp2Session> {
  return new Promise((resolve, reject) => {
    const session = connect("http://localhost", { createConnection: () => createConnection(socket) });
    session.once("error", (error: NodeJS.ErrnoException) => reject(unreachable(socket, error)));
    session.once("connect", () => {
      session.removeAllListeners("error");
      // Streams of a broken session report the error to their callers.
      session.on("error", () => undefined);
      resolve(session);
    });
  });
}

function unreachable(socket: string, error: NodeJS.ErrnoException): SwarmError {
  const where = "run this on a manager whose swarmd is up, or name its socket with --socket or SWARM_SOCKET";
  const why: Record<string, string> = {
    ENOENT: `there is no such socket: ${where}`,
    ECONNREFUSED: `nobody listens on the socket: ${where}`,
    EACCES: "permission denied: run as root",
    ENOTSOCK: "that is not a socket; choose another with --socket or SWARM_SOCKET",
  };
  const remedy = why[error.code ?? ""] ?? error.message;
  return new SwarmError("Unavailable", `cannot reach the Swarm manager at ${socket}: ${remedy}`, { cause: error });
}

/** Resolves when the call ended with status OK; rejects with the status, or Unavailable when the connection broke. */
function statusOf(stream: ClientHttp2Stream): Promise<void> {
  return new Promise((resolve, reject) => {
    let known = false;
    const settle = (headers: Record<string, unknown>) => {
      const code = headers["grpc-status"];
      if (code === undefined) return;
      known = true;
      if (Number(code) === 0) resolve();
      else reject(new SwarmError(codeName(Number(code)), messageOf(headers["grpc-message"])));
    };
    stream.on("response", (headers) => {
      settle(headers);
      const http = Number(headers[":status"]);
      if (!known && http !== 200) reject(new SwarmError("Unavailable", `the socket answered HTTP ${http}, not gRPC`));
    });
    stream.on("trailers", settle);
    stream.on("close", () => {
      if (!known) reject(new SwarmError("Unavailable", "the connection to the Swarm manager broke; try again"));
    });
    // Follows with "close".
    stream.on("error", () => undefined);
  });
}

function messageOf(header: unknown): string {
  const text = String(header ?? "");
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A broken connection may have delivered the status that says why. */
async function connectionLost(status: Promise<void>, socket: string, thrown: unknown): Promise<SwarmError> {
  try {
    await status;
  } catch (reason) {
    if (reason instanceof SwarmError) return reason;
  }
  return new SwarmError("Unavailable", `the connection to the Swarm manager at ${socket} broke; try again`, {
    cause: thrown,
  });
}

function aborted(signal: AbortSignal, socket: string): SwarmError {
  const reason: unknown = signal.reason;
  return reason instanceof Error && reason.name === "TimeoutError"
    ? new SwarmError("DeadlineExceeded", `the Swarm manager at ${socket} did not answer in time; try again`)
    : new SwarmError("Cancelled", "cancelled");
}
