import * as grpc from "@grpc/grpc-js";
import { SwarmError } from "@starling/base";
import type { MethodTable } from "../message.ts";
import { receiveWindowBytes } from "./receive-window.ts";
import { fromServiceError } from "./rpc-error.ts";
import { rpcCounts } from "./rpc-metrics.ts";
import { writeAll } from "./streams.ts";
import type { CallOptions } from "./types.ts";

const channelDefaults: grpc.ChannelOptions = {
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.min_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 1_000,
  // While calls are open: one that waits for a server whose host is gone ends by this.
  "grpc.keepalive_time_ms": 5_000,
  "grpc.keepalive_timeout_ms": 3_000,
  "grpc.max_receive_message_length": 256 * 1024 * 1024,
  "grpc.max_send_message_length": 64 * 1024 * 1024,
  "grpc-node.flow_control_window": receiveWindowBytes,
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
};

/** For channels whose calls find out by themselves that the server is gone: pings would only wake both sides. */
export const withoutPings: grpc.ChannelOptions = { "grpc.keepalive_time_ms": 2 ** 31 - 1 };

/** A method's messages as they go over the wire, counted as its calls are. */
interface Wire<Req, Res> {
  readonly encode: (message: Req) => Buffer;
  readonly decode: (bytes: Buffer) => Res;
  /** Counts the call, and how it ends; returns it. */
  readonly count: <C extends grpc.Call>(call: C) => C;
}

// biome-ignore lint/suspicious/noExplicitAny: wires of any method
const wires = new WeakMap<object, Wire<any, any>>();

function wireOf<Req, Res>(method: MethodTable<Req, Res, boolean, boolean>): Wire<Req, Res> {
  const known = wires.get(method);
  if (known !== undefined) return known;
  const counts = rpcCounts("client", method);
  const wire: Wire<Req, Res> = {
    encode: (message) => {
      counts.sent();
      return method.request.encode(message) as Buffer;
    },
    decode: (bytes) => {
      counts.received();
      return method.response.decode(bytes);
    },
    count: (call) => {
      counts.started();
      call.on("status", ({ code }: grpc.StatusObject) => counts.handled(code));
      return call;
    },
  };
  wires.set(method, wire);
  return wire;
}

/** A channel to one server, calling by method tables. `address` is `host:port` or `unix:/path`. */
export class RpcClient {
  readonly address: string;
  readonly #client: grpc.Client;

  constructor(address: string, credentials: grpc.ChannelCredentials, options: grpc.ChannelOptions = {}) {
    this.address = address;
    this.#client = new grpc.Client(address, credentials, { ...channelDefaults, ...options });
  }

  /** A unary call. Rejects with SwarmError. */
  call<Req, Res>(method: MethodTable<Req, Res, false, false>, request: Req, options: CallOptions = {}): Promise<Res> {
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) return reject(cancelled(options.signal));
      const wire = wireOf(method);
      const call = this.#client.makeUnaryRequest(
        method.path,
        wire.encode,
        wire.decode,
        request,
        options.metadata ?? new grpc.Metadata(),
        deadline(options),
        (error, response) => {
          release();
          if (error) reject(options.signal?.aborted ? cancelled(options.signal) : fromServiceError(error));
          else resolve(response as Res);
        },
      );
      wire.count(call);
      const release = cancelOnAbort(call, options.signal);
    });
  }

  /** A server-streaming call. Leaving the loop cancels it; it throws SwarmError when the stream fails. */
  stream<Req, Res>(
    method: MethodTable<Req, Res, false, true>,
    request: Req,
    options: CallOptions = {},
  ): AsyncIterable<Res> {
    return readAll<Res>(() => {
      const wire = wireOf(method);
      const call = this.#client.makeServerStreamRequest(
        method.path,
        wire.encode,
        wire.decode,
        request,
        options.metadata ?? new grpc.Metadata(),
        deadline(options),
      );
      return wire.count(call);
    }, options.signal);
  }

  /** A client-streaming call: sends `requests`, waiting when the peer is slow, then resolves with the answer. */
  upload<Req, Res>(
    method: MethodTable<Req, Res, true, false>,
    requests: AsyncIterable<Req>,
    options: CallOptions = {},
  ): Promise<Res> {
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) return reject(cancelled(options.signal));
      const ended = new AbortController();
      const wire = wireOf(method);
      const call = this.#client.makeClientStreamRequest(
        method.path,
        wire.encode,
        wire.decode,
        options.metadata ?? new grpc.Metadata(),
        deadline(options),
        (error, response) => {
          release();
          ended.abort();
          if (error) reject(options.signal?.aborted ? cancelled(options.signal) : fromServiceError(error));
          else resolve(response as Res);
        },
      );
      wire.count(call);
      const release = cancelOnAbort(call, options.signal);
      writeAll(call, requests, ended.signal).then(
        () => call.end(),
        (thrown) => {
          call.cancel();
          reject(SwarmError.from(thrown));
        },
      );
    });
  }

  /** A call that streams both ways. Leaving the loop cancels it. */
  duplex<Req, Res>(
    method: MethodTable<Req, Res, true, true>,
    requests: AsyncIterable<Req>,
    options: CallOptions = {},
  ): AsyncIterable<Res> {
    return readAll<Res>(() => {
      const wire = wireOf(method);
      const call = this.#client.makeBidiStreamRequest(
        method.path,
        wire.encode,
        wire.decode,
        options.metadata ?? new grpc.Metadata(),
        deadline(options),
      );
      wire.count(call);
      const ended = new AbortController();
      call.on("close", () => ended.abort());
      call.on("error", () => ended.abort());
      writeAll(call, requests, ended.signal).then(
        () => call.end(),
        (thrown) => call.destroy(SwarmError.from(thrown)),
      );
      return call;
    }, options.signal);
  }

  /** Resolves when connected; rejects Unavailable after `timeoutMs`. */
  waitReady(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#client.waitForReady(new Date(Date.now() + timeoutMs), (error) => {
        if (error) reject(new SwarmError("Unavailable", `no connection to ${this.address} within ${timeoutMs} ms`));
        else resolve();
      });
    });
  }

  close(): void {
    this.#client.close();
  }
}

function deadline(options: CallOptions): grpc.CallOptions {
  return options.timeoutMs === undefined ? {} : { deadline: new Date(Date.now() + options.timeoutMs) };
}

function cancelled(signal: AbortSignal): SwarmError {
  return SwarmError.from(signal.reason);
}

function cancelOnAbort(call: { cancel(): void }, signal: AbortSignal | undefined): () => void {
  if (signal === undefined) return () => undefined;
  const onAbort = () => call.cancel();
  signal.addEventListener("abort", onAbort, { once: true });
  return () => signal.removeEventListener("abort", onAbort);
}

async function* readAll<Res>(
  open: () => AsyncIterable<unknown> & {
    cancel(): void;
    on(event: "error", listener: (error: Error) => void): unknown;
  },
  signal: AbortSignal | undefined,
): AsyncGenerator<Res> {
  if (signal?.aborted) throw cancelled(signal);
  const call = open();
  // The iterator reports the error too; without a listener an error after we left would end the process.
  call.on("error", () => undefined);
  const release = cancelOnAbort(call, signal);
  try {
    for await (const message of call) yield message as Res;
  } catch (thrown) {
    throw signal?.aborted ? cancelled(signal) : fromServiceError(thrown);
  } finally {
    release();
    call.cancel();
  }
}
