import type { Readable } from "node:stream";
import type * as grpc from "@grpc/grpc-js";
import { codeName, metrics, SwarmError } from "@starling/base";
import type { MethodTable, ServiceTable } from "../message.ts";
import { callerFromSubject, forwardedCaller, managerRole, type PeerSubject, requireRole } from "./identity.ts";
import { toServiceError } from "./rpc-error.ts";
import { writeAll } from "./streams.ts";
import type { CallContext, Caller, Handlers } from "./types.ts";

export interface ServiceOptions {
  /** "roles": the table decides by the caller's certificate. "local": a socket that only the host's root can open. */
  readonly authorize: "roles" | "local";
  /** The cluster's id, against which O of certificates is held. */
  readonly organization: () => string;
  /** A further check after the role, e.g. of removed nodes; throws to refuse. */
  readonly admit?: (caller: Caller) => void;
  /** Own node id, the caller of calls on the local socket. */
  readonly localNodeId?: () => string;
}

type AnyMethod = MethodTable<unknown, unknown, boolean, boolean>;
type AnyCall = grpc.ServerUnaryCall<Uint8Array, unknown> &
  grpc.ServerReadableStream<Uint8Array, unknown> &
  grpc.ServerWritableStream<Uint8Array, unknown>;

/** Registers `handlers` for `table` on `server`. Every call is authorised before its handler runs. */
export function addService<S extends ServiceTable>(
  server: grpc.Server,
  table: S,
  handlers: Handlers<S>,
  options: ServiceOptions,
): void {
  const definition: Record<string, grpc.MethodDefinition<unknown, unknown>> = {};
  const implementation: Record<string, grpc.UntypedHandleCall> = {};
  for (const [key, method] of Object.entries(table.methods)) {
    definition[key] = {
      path: method.path,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      requestSerialize: (message) => Buffer.from(method.request.encode(message)),
      // Decoded in the handler, where a bad message can be answered as InvalidArgument.
      requestDeserialize: (bytes) => bytes,
      responseSerialize: (message) => method.response.encode(message) as Buffer,
      responseDeserialize: (bytes) => method.response.decode(bytes),
    };
    const handler = handlers[key as keyof S["methods"]] as unknown as (input: unknown, context: CallContext) => unknown;
    implementation[key] = implement(table.name, key, method, handler, options);
  }
  server.addService(definition as grpc.ServiceDefinition, implementation as grpc.UntypedServiceImplementation);
}

function implement(
  service: string,
  name: string,
  method: AnyMethod,
  handler: (input: unknown, context: CallContext) => unknown,
  options: ServiceOptions,
): grpc.UntypedHandleCall {
  const handled = metrics.counter("grpc_server_handled_total", "RPCs completed on the server.", [
    "grpc_service",
    "grpc_method",
    "grpc_code",
  ]);
  const count = (code: number) => handled.inc({ grpc_service: service, grpc_method: name, grpc_code: codeName(code) });
  const begin = (call: AnyCall) => {
    const context = contextOf(call, options);
    if (options.authorize === "roles") {
      requireRole(context.caller, method.roles, options.organization());
      options.admit?.(context.caller);
    }
    const input = method.requestStream ? decodeAll(call, method) : decode(call.request, method);
    return { input, context };
  };
  if (method.responseStream) {
    return ((call: AnyCall) => {
      const run = async () => {
        const { input, context } = begin(call);
        await writeAll(call, handler(input, context) as AsyncIterable<unknown>, context.signal);
      };
      run().then(
        () => {
          count(0);
          call.end();
        },
        (thrown) => {
          const error = toServiceError(thrown);
          count(error.code);
          call.emit("error", error);
        },
      );
    }) as grpc.UntypedHandleCall;
  }
  return ((call: AnyCall, callback: grpc.sendUnaryData<unknown>) => {
    const run = async () => {
      const { input, context } = begin(call);
      return await (handler(input, context) as Promise<unknown>);
    };
    run().then(
      (response) => {
        count(0);
        callback(null, response);
      },
      (thrown) => {
        const error = toServiceError(thrown);
        count(error.code);
        callback(error);
      },
    );
  }) as grpc.UntypedHandleCall;
}

function contextOf(call: AnyCall, options: ServiceOptions): CallContext {
  const abort = new AbortController();
  call.on("cancelled", () => abort.abort(new SwarmError("Cancelled", "the caller went away")));
  if (call.cancelled) abort.abort(new SwarmError("Cancelled", "the caller went away"));
  const { metadata } = call;
  if (options.authorize === "local") {
    const caller = {
      nodeId: options.localNodeId?.() ?? "",
      roles: [managerRole],
      organization: options.organization(),
      forwarded: false,
    };
    return { caller, signal: abort.signal, remoteAddress: "", metadata };
  }
  const certificate = call.getAuthContext()?.sslPeerCertificate;
  const direct = callerFromSubject(certificate?.subject as PeerSubject | undefined);
  const caller = forwardedCaller(direct, metadata, options.organization());
  const forwardedFrom = caller.forwarded ? metadata.get("remote_addr")[0] : undefined;
  return { caller, signal: abort.signal, remoteAddress: String(forwardedFrom ?? call.getPeer()), metadata };
}

function decode(bytes: Uint8Array, method: AnyMethod): unknown {
  try {
    return method.request.decode(bytes);
  } catch (thrown) {
    throw new SwarmError("InvalidArgument", `not a valid ${method.request.typeName}: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  }
}

/** Leaving early keeps the call open: its status has yet to be sent. */
async function* decodeAll(call: Readable, method: AnyMethod): AsyncGenerator<unknown> {
  for await (const bytes of call.iterator({ destroyOnReturn: false })) yield decode(bytes, method);
}
