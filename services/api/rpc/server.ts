import type * as grpc from "@grpc/grpc-js";
import { Code, type Logger, SwarmError } from "@starling/base";
import type { MethodTable, ServiceTable } from "../message.ts";
import { callerFromSubject, forwardedCaller, managerRole, requireRole } from "./identity.ts";
import { Incoming } from "./incoming.ts";
import { Outgoing } from "./outgoing.ts";
import { peerSubject } from "./peer-subject.ts";
import { toServiceError } from "./rpc-error.ts";
import { type RpcCounts, rpcCounts } from "./rpc-metrics.ts";
import { writeAll } from "./streams.ts";
import type { CallContext, Caller, Handlers } from "./types.ts";

export interface ServiceOptions {
  /** "roles": the table decides by the caller's certificate. "local": a socket that only the host's root can open. */
  readonly authorize: "roles" | "local";
  /** The cluster's id, against which O of certificates is held. */
  readonly organization: () => string;
  /** A further check after the role, e.g. of removed nodes; throws to refuse. Also asked of who relays a call. */
  readonly admit?: (caller: Caller) => void;
  /** Own node id, the caller of calls on the local socket. */
  readonly localNodeId?: () => string;
  /** Told of what handlers throw by mistake: callers only get Internal and a message. */
  readonly log?: Logger;
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
    const counts = rpcCounts("server", method);
    definition[key] = {
      path: method.path,
      requestStream: method.requestStream,
      responseStream: method.responseStream,
      requestSerialize: (message) => Buffer.from(method.request.encode(message)),
      // Decoded in the handler, where a bad message can be answered as InvalidArgument.
      requestDeserialize: (bytes) => {
        counts.received();
        return bytes;
      },
      responseSerialize: (message) => {
        counts.sent();
        return method.response.encode(message) as Buffer;
      },
      responseDeserialize: (bytes) => method.response.decode(bytes),
    };
    const handler = handlers[key as keyof S["methods"]] as unknown as (input: unknown, context: CallContext) => unknown;
    implementation[key] = implement(method, handler, { ...options, counts });
  }
  server.addService(definition as grpc.ServiceDefinition, implementation as grpc.UntypedServiceImplementation);
}

function implement(
  method: AnyMethod,
  handler: (input: unknown, context: CallContext) => unknown,
  options: ServiceOptions & { readonly counts: RpcCounts },
): grpc.UntypedHandleCall {
  const { counts } = options;
  const fail = (thrown: unknown) => {
    const error = toServiceError(thrown);
    if (error.code === Code.Internal && thrown instanceof Error && !(thrown instanceof SwarmError)) {
      options.log?.error("handler failed", { rpc: method.path, error: thrown.stack ?? thrown.message });
    }
    counts.handled(error.code);
    return error;
  };
  const begin = (call: AnyCall) => {
    counts.started();
    const context = contextOf(call, authorize(call, method, options), options);
    const input = method.requestStream
      ? new Incoming(call, (bytes) => decode(bytes, method))
      : decode(call.request, method);
    return { input, context };
  };
  if (method.responseStream) {
    return ((call: AnyCall) => {
      const run = async () => {
        const { input, context } = begin(call);
        const messages = handler(input, context) as AsyncIterable<unknown>;
        if (messages instanceof Outgoing) await messages.sendTo(call, context.signal);
        else await writeAll(call, messages, context.signal);
        return context.signal.aborted ? Code.Cancelled : Code.Ok;
      };
      run().then(
        (code) => {
          counts.handled(code);
          call.end();
        },
        (thrown) => void call.emit("error", fail(thrown)),
      );
    }) as grpc.UntypedHandleCall;
  }
  return ((call: AnyCall, callback: grpc.sendUnaryData<unknown>) => {
    const run = async () => {
      const { input, context } = begin(call);
      return await (handler(input, context) as Promise<unknown>);
    };
    // grpc-js calls every call cancelled in the end, an answered one too.
    const answered = () => call.removeAllListeners("cancelled");
    run().then(
      (response) => {
        answered();
        counts.handled(Code.Ok);
        callback(null, response);
      },
      (thrown) => {
        answered();
        callback(fail(thrown));
      },
    );
  }) as grpc.UntypedHandleCall;
}

/** Who calls, if the method is for them; throws PermissionDenied otherwise. */
function authorize(call: AnyCall, method: AnyMethod, options: ServiceOptions): Caller {
  const organization = options.organization();
  if (options.authorize === "local") {
    return { nodeId: options.localNodeId?.() ?? "", roles: [managerRole], organization, forwarded: false };
  }
  // Only certificates of the server's own roots get here.
  const direct = callerFromSubject(peerSubject(call));
  const caller = forwardedCaller(direct, call.metadata, organization);
  requireRole(caller, method.roles, organization);
  if (caller !== direct) options.admit?.(direct);
  options.admit?.(caller);
  return caller;
}

function contextOf(call: AnyCall, caller: Caller, options: ServiceOptions): CallContext {
  const abort = new AbortController();
  call.on("cancelled", () => abort.abort(new SwarmError("Cancelled", "the caller went away")));
  if (call.cancelled) abort.abort(new SwarmError("Cancelled", "the caller went away"));
  const { metadata } = call;
  const forwardedFrom = caller.forwarded ? metadata.get("remote_addr")[0] : undefined;
  const remoteAddress = options.authorize === "local" ? "" : String(forwardedFrom ?? call.getPeer());
  return { caller, signal: abort.signal, remoteAddress, metadata };
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
